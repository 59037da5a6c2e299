"""The switches: initialisers, normalisation, activations, and the blocks made of them. Torch only."""
