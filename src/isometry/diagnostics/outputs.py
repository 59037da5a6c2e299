"""What one profile says of the network's outputs: of the layer next to the loss, and of the gradient that it gets."""

from __future__ import annotations

import math

from .profile import LayerProfile, Profile
from .thresholds import limit


def head_of(profile: Profile) -> LayerProfile | None:
    """The layer next to the loss."""
    return next((layer for layer in reversed(profile.layers) if layer.unit_zeros is not None), None)


def is_blind(profile: Profile) -> bool:
    """Whether the outputs are the same for all inputs, as those of a head that is zero are, too."""
    head = head_of(profile)
    if head is None or head.sample_spread is None or head.samples < 2:
        return False
    return head.sample_spread <= limit("head.blind")


def is_wild(profile: Profile) -> bool:
    """Whether the loss is made by outputs that are too large."""
    return profile.elasticity is not None and profile.elasticity >= limit("loss.elasticity")


def head_gradient(head: LayerProfile) -> float:
    """RMS ∂L/∂z over √(1-1/K)/(B√K), which cross-entropy's mean over B samples has at chance."""
    classes = num_outputs(head)
    rows = head.samples * math.prod(head.shape) / classes
    return (head.gradient_rms or 0.0) * rows * math.sqrt(classes) / math.sqrt(1 - 1 / classes)


def error_share(profile: Profile) -> float | None:
    """RMS ∂L/∂z at the head over 2√L/n, which a mean squared error L over n numbers has: 1 with nothing in between.

    A sigmoid leaves its σ' <= 1/4 of it; a binary cross-entropy near a guess has 0.30.
    """
    head = head_of(profile)
    if head is None or not head.gradient_rms or profile.loss is None or not profile.loss > 0:
        return None
    return head.gradient_rms * head.samples * math.prod(head.shape) / (2 * math.sqrt(profile.loss))


def num_outputs(layer: LayerProfile) -> int:
    """K, the size of the axis of units."""
    return layer.shape[0 if layer.kind.startswith("Conv") else -1]
