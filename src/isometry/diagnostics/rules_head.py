"""The rule on the head: does the loss get what it wants from the network's outputs?

As in `rules_gradient.py`: functions of the evidence, numbers in `thresholds.py`. Closed forms tell: where the loss is
one of those that `targets` knows, what stands before it and what that leaves out of reach; else the gradient's size.
Behind a softmax Σ_k ∂L/∂z_k = 0; at a loss of ln K, a guess, ‖∂L/∂z‖ of a sample is √(1-1/K). A second softmax in
between leaves 1/K of that, a sigmoid a quarter.
"""

from __future__ import annotations

import math

from .evidence import NEEDED, Evidence
from .findings import CRITICAL, Finding
from .outputs import error_share, head_gradient, head_of, num_outputs
from .profile import LayerProfile, Profile
from .thresholds import limit


def bad_output_head(evidence: Evidence) -> Finding | None:
    """The loss does not get what it wants: squashed logits, or an activation on the head."""
    if evidence.head is None:
        return None
    behind = _out_of_reach(evidence)
    if behind is not None:
        return behind
    is_single = num_outputs(evidence.head) == 1
    tell = _masked_output if is_single else _wrong_head
    words = ["" if profile.link == "identity" else tell(profile) for profile in evidence.early_profiles]
    if not evidence.persists([bool(text) for text in words]) or (is_single and not evidence.learns_slowly):
        return _squashed_error(evidence)
    measured = {"zeros": evidence.head.unit_zeros or 0.0}
    measured |= {} if is_single else {"gradient_ratio": head_gradient(evidence.head)}
    return Finding("bad_output_head", CRITICAL, words[-1], (evidence.head.name,), measured)


def _out_of_reach(evidence: Evidence) -> Finding | None:
    """What stands behind the outputs does not let them be what they should.

    Behind a ReLU the outputs that ought to be negative soon are: what the first profiles say of targets counts. Where
    all outputs are positive, a ReLU is the identity.
    """
    told = [profile for profile in evidence.early_profiles if profile.link]
    if any(profile.link == "relu" for profile in told):
        told = [profile for profile in told if profile.link != "identity"]
    share = max((profile.out_of_reach or 0.0 for profile in told), default=0.0)
    is_relu = all(profile.link == "relu" for profile in told)  # no other loss has zeros just where z is not positive
    is_sure = len(told) >= (1 if evidence.is_probe or is_relu else 2) and len({profile.link for profile in told}) == 1
    if not is_sure or share < limit("head.out_of_reach") or evidence.head is None:
        return None
    name = evidence.head.name
    words = f"A {told[0].link} stands between {name} and the loss: {share:.0%} of what a guess has is out of its reach."
    return Finding("bad_output_head", CRITICAL, words, (name,), {"out_of_reach": share})


def _squashed_error(evidence: Evidence) -> Finding | None:
    """A sigmoid stands before a squared error and keeps it from falling.

    It may well stand there where targets lie between 0 and 1, as those of pictures do.
    """
    shares = [error_share(profile) or 0.0 for profile in evidence.profiles]
    early = [limit("head.sigmoid_least") <= share <= limit("head.sigmoid") for share in shares[:NEEDED]]
    head, loss = head_of(evidence.profiles[-1]), evidence.recent_loss
    if not evidence.persists(early) or not evidence.is_old_enough or loss is None or head is None:
        return None
    words = f"A sigmoid between {head.name} and a squared error leaves {shares[0]:.2f} of the gradient"
    classes, measured = num_outputs(head), {"share": shares[0], "last_share": shares[-1]}
    guess = (1 - 1 / classes) / classes
    if classes == 1:
        is_flat = shares[-1] < limit("head.saturates") * shares[0] and head.activation_rms > limit("head.flat")
        is_wrong = is_flat and evidence.learns_slowly
        words += f", and {shares[-1]:.2f} later, on the flat ends of its curve: some targets are out of its reach."
    else:
        is_wrong = abs(loss / guess - 1) < limit("head.guess")
        measured["guess"] = guess
        words += f", and the loss is {loss:.3g}: a guess among {classes} classes has {guess:.3g}."
    return Finding("bad_output_head", CRITICAL, words, (head.name,), measured) if is_wrong else None


def _masked_output(profile: Profile) -> str:
    """What is wrong with a head of one output; empty: nothing."""
    head = head_of(profile)
    if head is None or (head.unit_zeros or 0.0) < limit("head.masked") or _is_rounded(head):
        return ""
    return f"{head.unit_zeros:.0%} of the samples get no gradient at the output {head.name}: a ReLU is behind it."


def _wrong_head(profile: Profile) -> str:
    """What is wrong with the head in a pass near chance level; empty: nothing."""
    head = head_of(profile)
    if head is None or profile.loss is None or num_outputs(head) < 2:
        return ""
    chance, classes = math.log(num_outputs(head)), num_outputs(head)
    is_masked = (head.unit_zeros or 0.0) >= limit("head.masked") and (head.unit_sum or 0.0) > limit("head.softmax")
    if is_masked and classes > 2 and 1 - limit("head.chance") < profile.loss / chance < limit("head.large_loss"):
        return (
            f"{head.unit_zeros:.0%} of the gradients at the {classes} outputs of {head.name} are exactly zero: a ReLU "
            "stands between them and the loss, which wants logits."
        )
    if abs(profile.loss / chance - 1) > limit("head.chance"):
        return ""
    if head.activation is not None and classes > 2:
        return f"The {classes} outputs of {head.name} go through {head.activation} before the loss, which wants logits."
    alike = [layer for layer in profile.layers if (layer.depth, layer.shape) == (head.depth, head.shape)]
    ratio = len(alike) * head_gradient(head)  # the loss of several heads may be the mean of theirs
    if ratio < limit("head.squashed") and not _is_rounded(head) and (head.unit_sum or 0.0) < limit("head.no_softmax"):
        return (
            f"The gradient at the outputs of {head.name} is {ratio:.2f} of what cross-entropy of {classes} logits has "
            "at this loss: a softmax or sigmoid stands between them and the loss."
        )
    return ""


def _is_rounded(head: LayerProfile) -> bool:
    """Whether float16 has lost much of the head's gradient."""
    return (head.underflow or 0.0) >= limit("fp16.underflow")
