"""Architectures of two more authors who had not read the rules; held out, scored, and then looked at.

Branches and gates in pictures, larger pictures and maps of places, triplets, chords; crosses, ratings, counts and
actors; flows, noise, tied layers; stacked cells, both directions and their mean, sketches, gaps in texts.
"""
