"""Trainings of two more authors who had not read the rules, nor seen what earlier rounds came to: held out."""
