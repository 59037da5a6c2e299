"""Architectures of two authors who had not read the rules, nor seen what earlier rounds came to: held out.

Sequences: densities of series, convolutions in front of a recurrence and a loss per step, memories and pointers by
attention, values with a slow copy, two clocks, patches of sound, state spaces.
"""
