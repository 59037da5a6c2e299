"""Trainings of two more authors who had not read the rules, nor seen what earlier rounds came to; scored and looked at.

Nets without time: classifiers that end early, too; attention over neighbours; codes from a book, with pictures drawn
from them; hazards under a partial likelihood; soft trees; margins between cosines; two views told of one another.
Sequences: tags in a chain; trees of matches; an actor and its critic; marks and times of events; recurrences by
convolution; charts at uneven times; attention by a causal sum.
"""
