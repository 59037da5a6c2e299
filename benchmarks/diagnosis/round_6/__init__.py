"""Trainings of two more authors who had not read the rules, nor seen what earlier rounds came to; scored and looked at.

Written beside the fifth round to the same list of ideas, so that some kinds of net are alike: splines, spectral
operators, tables as tokens, physical laws; values with a slow copy, memories, convolutions between attention. Others
are not: pyramids with lateral ways, cellular automata, two views that are told from others; two rates, pyramids of
recurrences over sound, leaps over time.
"""
