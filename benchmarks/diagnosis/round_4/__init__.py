"""Architectures of two authors who had not read the rules, nor seen what earlier rounds came to; scored and looked at.

Inverted bottlenecks, shuffled groups, dilated labels of pixels, factorised tables, sets with attention, plain deep
convolutions, residual regression, patches with attention, generated weights, colours of places. Gates by hand,
attention behind a recurrence, causal attention, residual signals, convolutions in front of a recurrence (signals and
films), convolutional LSTMs, an actor with its critic.
"""
