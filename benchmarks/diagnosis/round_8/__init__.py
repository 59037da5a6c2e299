"""Trainings of two more authors who had not read the rules, nor seen what earlier rounds came to: held out, and scored.

Nets without time: masked convolutions over pictures, one picture bent onto another, points assigned to points, mixtures
of bells, capsules. Sequences: frames of a film, voices told apart, spans of a text, spiking units, a rider's pushes.
"""
