"""The networks: images `[B, C, H, W]` in, logits `[B, K]` out. Torch only, usable without the rest.

Every model is called `Model(image_shape, num_classes, norm, activation, **options)`; its options are listed in the
catalog and their defaults in `configs/model/`. Its last layer is called `head`: fine-tuning replaces it, and neither
parametrisations nor adaptive clipping touch it. A module's `adjust_initialization(rng)`, where it has one, has the last
word on its weights (`layers/assignment.py`).
"""
