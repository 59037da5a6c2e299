"""Architectures of two authors who had not read the rules, nor seen what earlier rounds came to; scored and looked at.

Fields by Fourier layers, maps that settle under a tied convolution, splines, columns with attention, bodies that act on
each other, a membrane's law. Sequences: densities of series, convolutions in front of a recurrence and a loss per step,
memories and pointers by attention, values with a slow copy, two clocks, patches of sound, state spaces.
"""
