"""Architectures whose authors had not read the rules, in two generations, held out twice and then looked at.

The first: residual nets, attention, cells in loops, autoencoders, signals, adversaries, fine-tuning. The second: gates
and experts, mixers, other convolutions, sets, graphs, codes, tags, translations, tides.
"""
