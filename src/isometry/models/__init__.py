"""The networks: images `[B, C, H, W]` in, logits `[B, K]` out. Torch only, usable without the rest.

Every model is called `Model(image_shape, num_classes, norm, activation, **options)`; its options are listed in the
catalog and their defaults in `configs/model/`.
"""
