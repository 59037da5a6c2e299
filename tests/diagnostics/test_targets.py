"""What a guess has and what is out of reach, told from z, ∂L/∂z and L alone: against targets that the test knows."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isometry import probe
from isometry.diagnostics.profile import LEAST_SAMPLES
from isometry.diagnostics.targets import LARGEST, LARGEST_LINKED, ROWS_PER_CLASS, Told, told

B, K = 64, 3
SHARES = torch.tensor([0.7, 0.2, 0.1])


def read(loss_fn: Callable[[Tensor], Tensor], outputs: Tensor, axis: int = -1) -> Told | None:
    outputs = outputs.clone().requires_grad_()
    loss = loss_fn(outputs)
    (gradient,) = torch.autograd.grad(loss, outputs)
    return told(outputs, gradient, loss.item(), axis)


def guess(loss_fn: Callable[[Tensor], Tensor], outputs: Tensor, axis: int = -1) -> float | None:
    """Where nothing stands between the outputs and the loss."""
    found = read(loss_fn, outputs, axis)
    assert found is None or (found.link, found.out_of_reach) == ("identity", 0.0)
    return found.guess if found else None


def best_constant(loss_fn: Callable[[Tensor], Tensor], shape: tuple[int, ...], axis: int = -1) -> float:
    """By descent: a number for each unit, the same for each sample and place."""
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    constant = torch.zeros(sizes, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_fn(constant.expand(shape))
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return closure().item()


def classes(count: int = B) -> Tensor:
    return torch.multinomial(SHARES, count, replacement=True)


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("reduction", ["mean", "sum", "samples"])
def test_of_squared_errors_it_is_the_variance(reduction: str, weight: float) -> None:
    targets, outputs = torch.randn(B, K), 2 * torch.randn(B, K) + 5

    def loss_fn(z: Tensor) -> Tensor:
        whole = F.mse_loss(z, targets, reduction="mean" if reduction == "mean" else "sum")
        return weight * whole / (B if reduction == "samples" else 1)

    variance = weight * targets.var(dim=0).sum().item() * {"mean": 1 / K, "sum": B, "samples": 1}[reduction]
    assert guess(loss_fn, outputs) == pytest.approx(variance, rel=1e-3)
    assert best_constant(loss_fn, (B, K)) == pytest.approx(variance * (1 - 1 / B), rel=1e-3)  # theirs knows the mean


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_of_classes_it_is_the_entropy_of_their_shares(smoothing: float) -> None:
    labels = classes(2000)

    def loss_fn(z: Tensor) -> Tensor:
        return F.cross_entropy(z, labels, label_smoothing=smoothing)

    found = guess(loss_fn, torch.randn(2000, K))
    assert found == pytest.approx(best_constant(loss_fn, (2000, K)), rel=2e-3)
    assert smoothing or found == pytest.approx(-(SHARES * SHARES.log()).sum().item(), rel=0.05)
    assert found is not None
    assert found < 0.9 * math.log(K)


def test_the_entropy_of_few_labels_is_put_right() -> None:
    """In the mean over many small batches, where the plain one is too small by (K - 1)/2B."""
    entropy = -(SHARES * SHARES.log()).sum().item()
    rows = ROWS_PER_CLASS * K
    found = []
    for _ in range(300):
        labels = classes(rows)
        found.append(guess(lambda z, labels=labels: F.cross_entropy(z, labels), torch.randn(rows, K)) or 0.0)  # type: ignore[misc]
    assert sum(found) / len(found) == pytest.approx(entropy, abs=0.015)
    assert abs(sum(found) / len(found) - (K - 1) / (2 * rows) - entropy) > 0.02  # without the correction


def test_padding_does_not_count() -> None:
    labels = classes(B * 20).view(B, 20)
    labels[:, 15:] = -100
    found = guess(lambda z: F.cross_entropy(z, labels), torch.randn(B, K, 20), axis=1)
    assert found == pytest.approx(best_constant(lambda z: F.cross_entropy(z, labels), (B, K, 20), axis=1), rel=5e-3)


def test_of_bits_it_is_their_entropy_unit_by_unit() -> None:
    bits = (torch.rand(B, K) < SHARES).float()

    def loss_fn(z: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, bits)

    assert guess(loss_fn, torch.randn(B, K)) == pytest.approx(best_constant(loss_fn, (B, K)), rel=1e-3)


def test_of_bits_that_are_hardly_ever_set_a_batch_says_nothing() -> None:
    for count, is_told in ((ROWS_PER_CLASS - 1, False), (ROWS_PER_CLASS, True)):
        rare = torch.zeros(B, 1)
        rare[:count] = 1.0
        for bits in (rare, 1 - rare):
            found = guess(lambda z, bits=bits: F.binary_cross_entropy_with_logits(z, bits), torch.randn(B, 1))  # type: ignore[misc]
            assert (found is not None) == is_told


def test_rounding_to_float16_leaves_it() -> None:
    labels, outputs = classes(), torch.randn(B, K)
    exact = guess(lambda z: F.cross_entropy(z, labels), outputs)
    assert guess(lambda z: F.cross_entropy(z.float(), labels), outputs.half()) == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize(
    "loss_fn",
    [
        lambda z, y: F.l1_loss(z, y),
        lambda z, y: F.smooth_l1_loss(z, y),
        lambda z, y: 0.7 * F.mse_loss(z, y),
        lambda z, y: F.mse_loss(z, y) + 0.1 * z.abs().mean(),
        lambda z, y: F.poisson_nll_loss(z, y),
        lambda z, y: -F.cross_entropy(z, y.argmax(dim=1)),
        lambda z, y: F.l1_loss(z.relu(), y),
        lambda z, y: F.mse_loss(F.leaky_relu(z), y),
        lambda z, y: F.mse_loss(z.exp(), y),
        lambda z, y: F.cross_entropy(3 * z, y.argmax(dim=1)),
        lambda z, y: F.multi_margin_loss(z, y.argmax(dim=1)),
    ],
)
def test_of_other_losses_there_is_none(loss_fn: Callable[[Tensor, Tensor], Tensor]) -> None:
    targets = torch.rand(B, K)
    assert guess(lambda z: loss_fn(z, targets), torch.randn(B, K)) is None


def test_few_samples_many_outputs_and_no_gradient_tell_nothing() -> None:
    for shape in ((LEAST_SAMPLES - 1, K), (LEAST_SAMPLES, LARGEST // LEAST_SAMPLES + 1)):
        assert guess(lambda z: z.square().mean(), torch.randn(shape)) is None
    assert guess(lambda z: z.square().mean(), torch.randn(LEAST_SAMPLES, K)) == pytest.approx(0.0, abs=1e-6)
    few = classes(ROWS_PER_CLASS * K - 1)
    uniform = guess(lambda z: F.cross_entropy(z, few), torch.randn(len(few), K))
    assert uniform == pytest.approx(math.log(K))  # too few to tell uneven classes
    assert told(torch.ones(B, K), torch.zeros(B, K), 1.0, -1) is None
    assert told(torch.ones(B), torch.ones(B), 1.0, -1) is None  # no batch: one sample's units


@pytest.mark.parametrize("weight", [1e-4, 0.37, 1e4])
def test_a_weight_of_the_loss_is_told_of_cross_entropies(weight: float) -> None:
    """And the guess is weighed as the loss is; of squares any weight would do, so none is told."""
    labels, bits, outputs = classes(), (torch.rand(B, K) < 0.4).float(), torch.randn(B, K)
    for loss_fn in (
        lambda z: F.cross_entropy(z, labels),
        lambda z: F.binary_cross_entropy_with_logits(z, bits),
    ):
        plain, found = guess(loss_fn, outputs), guess(lambda z, f=loss_fn: weight * f(z), outputs)  # type: ignore[misc]
        assert plain is not None
        assert found == pytest.approx(weight * plain, rel=1e-3)
    assert guess(lambda z: 0.37 * F.mse_loss(z, outputs.flip(0)), outputs) is None


def test_gradients_without_bound_tell_nothing() -> None:
    for size in (1e12, 1e30, 3e38):
        assert told(torch.randn(B, K), size * torch.randn(B, K), 1.0, -1) is None


def test_wild_logits_that_are_right_have_no_gradient_and_count_all_the_same() -> None:
    bits = (torch.arange(B) % 2).float()[:, None]
    outputs = 1000 * torch.randn(B, 1)
    found = guess(lambda z: F.binary_cross_entropy_with_logits(z, bits), outputs)
    assert found == pytest.approx(math.log(2), rel=1e-3)


@pytest.mark.parametrize("size", [1e-15, 1e15])
def test_targets_of_any_size_are_told(size: float) -> None:
    targets, outputs = size * torch.randn(B, K), size * torch.randn(B, K)
    gradient, loss = 2 * (outputs - targets) / (B * K), float((outputs - targets).double().square().mean())
    found = told(outputs, gradient, loss, -1)
    assert found is not None
    assert found.guess == pytest.approx(float(targets.double().var(dim=0).mean()), rel=1e-3)
    assert told(outputs, gradient, 2.5 * loss, -1) is None  # of no usual weight
    assert told(outputs.double(), 1e-60 * gradient.double(), loss, -1) is None  # next to no gradient


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_tells_nothing(odd: float) -> None:
    fine = torch.randn(B, K)
    broken = torch.where(torch.arange(B)[:, None] == 1, odd, fine)
    for outputs, gradient, loss in ((broken, fine, 1.0), (fine, broken, 1.0), (broken, broken, odd), (fine, fine, odd)):
        assert told(outputs, gradient, loss, -1) is None


@pytest.mark.parametrize("compiled", [False, True])
def test_a_probe_tells_it(compiled: bool) -> None:
    net, targets = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(B, 2)
    shown = probe(torch.compile(net, backend="eager") if compiled else net, (torch.randn(B, 4), targets), F.mse_loss)  # type: ignore[arg-type]
    assert shown.guess == pytest.approx(targets.var(dim=0).mean().item(), rel=1e-3)


# --------------------------------------------------------------------------------- a cross-entropy among other terms
OTHERS = 3.0  # what the other terms come to


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_of_a_cross_entropy_among_others_they_stay_as_they_are(weight: float) -> None:
    labels, bits = classes(), (torch.rand(B, K) < SHARES).float()

    def of_classes(z: Tensor) -> Tensor:
        return weight * F.cross_entropy(z, labels)

    def of_bits(z: Tensor) -> Tensor:
        return weight * F.binary_cross_entropy_with_logits(z, bits)

    for alone in (of_classes, of_bits):
        outputs = 3 * torch.randn(B, K)
        among = guess(lambda z, alone=alone: alone(z) + OTHERS, outputs)  # type: ignore[misc]
        assert among == pytest.approx((guess(alone, outputs) or 0.0) + OTHERS, rel=1e-3)


def test_a_net_with_several_heads_has_the_guess_of_all_while_none_has_learned() -> None:
    class Exits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.early, self.late = nn.Linear(8, 8), nn.Linear(8, K), nn.Linear(8, K)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.early(z := self.trunk(x).relu()), self.late(z)

    net, labels = Exits(), torch.arange(B) % K
    for head in (net.early, net.late):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    shown = probe(net, (torch.randn(B, 8), labels), lambda z, y: F.cross_entropy(z[0], y) + F.cross_entropy(z[1], y))
    assert shown.guess == pytest.approx(2 * math.log(K), rel=0.02)


@pytest.mark.parametrize("name", ["sigmoid, bits", "tanh, bits", "softmax, classes", "sigmoid, classes"])
def test_a_link_is_told_among_other_terms_too(name: str) -> None:
    link, loss_fn, _ = LINKED[name]
    outputs = torch.randn(B, K)
    alone = read(lambda z: loss_fn(link(z)), outputs)  # type: ignore[no-untyped-call, operator]
    among = read(lambda z: loss_fn(link(z)) + OTHERS, outputs)  # type: ignore[no-untyped-call, operator]
    assert alone is not None
    assert among is not None
    assert among.link == alone.link == name.split(",")[0]
    assert among.guess == pytest.approx((alone.guess or 0.0) + OTHERS, rel=1e-3)
    assert among.out_of_reach == pytest.approx(alone.out_of_reach, rel=1e-3)


def test_a_gradient_that_no_targets_of_0_and_1_have_made_is_no_cross_entropy_s() -> None:
    labels = classes()
    weights = torch.rand(B) + 0.1  # of each sample its own
    for loss_fn in (
        lambda z: (weights * F.cross_entropy(z, labels, reduction="none")).sum() + OTHERS,
        lambda z: F.mse_loss(z, torch.randn(B, K)) + OTHERS,
        lambda z: -z.logsumexp(dim=1).mean() + OTHERS,
    ):
        assert read(loss_fn, torch.randn(B, K)) is None
    assert guess(lambda z: F.cross_entropy(z, labels) - OTHERS, torch.randn(B, K)) is None  # less than nothing


# -------------------------------------------------------------------------- what stands behind the outputs
NORMAL, BITS = torch.randn(B, K), (torch.rand(B, K) < SHARES).float()
LABELS = BITS.argmax(dim=1)
SURE = F.one_hot(torch.arange(K), K).float()
LINKED = {
    "sigmoid, squares": (torch.sigmoid, lambda o: F.mse_loss(o, NORMAL), NORMAL.clamp(0, 1)),
    "tanh, squares": (torch.tanh, lambda o: F.mse_loss(o, NORMAL), NORMAL.clamp(-1, 1)),
    "sigmoid, shares": (torch.sigmoid, lambda o: F.mse_loss(o, NORMAL.sigmoid()), NORMAL.sigmoid()),
    "sigmoid, bits": (torch.sigmoid, lambda o: F.binary_cross_entropy_with_logits(o, BITS), BITS),
    "tanh, bits": (torch.tanh, lambda o: F.binary_cross_entropy_with_logits(o, BITS), 2 * BITS - 1),
    "softmax, classes": (lambda z: z.softmax(dim=-1), lambda o: F.cross_entropy(o, LABELS), SURE[LABELS]),
    "sigmoid, classes": (torch.sigmoid, lambda o: F.cross_entropy(o, LABELS), SURE[LABELS]),
    "tanh, classes": (torch.tanh, lambda o: F.cross_entropy(o, LABELS), 2 * SURE[LABELS] - 1),
}  # each with the best outputs that it leaves


@pytest.mark.parametrize("name", LINKED)
def test_a_link_is_told_and_what_it_leaves(name: str) -> None:
    link, loss_fn, best = LINKED[name]
    found = read(lambda z: loss_fn(link(z)), torch.randn(B, K))  # type: ignore[no-untyped-call, operator]
    plain = read(loss_fn, torch.randn(B, K))  # type: ignore[arg-type]
    assert found is not None
    assert plain is not None
    assert found.link == name.split(",")[0]
    assert found.guess == pytest.approx(plain.guess, rel=1e-3)
    assert found.out_of_reach * plain.guess == pytest.approx(loss_fn(best).item(), rel=1e-2, abs=1e-5)  # type: ignore[operator]


def test_a_relu_is_told_and_what_it_leaves_of_targets_below_zero() -> None:
    targets, outputs = torch.randn(2000, K), torch.randn(2000, K)
    for reduction in ("mean", "sum"):
        found = read(lambda z, how=reduction: F.mse_loss(z.relu(), targets, reduction=how), outputs)  # type: ignore[misc]
        assert found is not None
        assert found.link == "relu"
        assert found.guess == pytest.approx(1.0 if reduction == "mean" else targets.numel(), rel=0.1)
        assert found.out_of_reach == pytest.approx(0.5, rel=0.1)
    positive = read(lambda z: F.mse_loss(z.relu(), targets.abs()), outputs)
    assert positive is not None
    assert positive.out_of_reach == 0


def test_zeros_elsewhere_are_no_relu() -> None:
    targets, outputs = torch.randn(B, K), torch.randn(B, K)
    is_asked = torch.rand(B, K) < 0.5
    found = read(lambda z: (is_asked * (z - targets).square()).sum(), outputs)
    assert found is not None
    assert found.link == "identity"


def test_many_outputs_are_looked_at_as_they_are_alone() -> None:
    rows = LARGEST_LINKED // K + 1
    targets, outputs = torch.rand(rows, K), torch.randn(rows, K)
    assert read(lambda z: F.mse_loss(z.sigmoid(), targets), outputs) is None
    assert read(lambda z: F.mse_loss(z.sigmoid(), targets[:B]), outputs[:B]) is not None
    assert guess(lambda z: F.mse_loss(z, targets), outputs) is not None


def test_a_probe_tells_what_stands_behind_the_last_layer() -> None:
    shown = probe(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), (torch.randn(B, 4), 3 * torch.randn(B, 2)), F.mse_loss)
    assert shown.link == "tanh"
    assert shown.out_of_reach is not None
    assert 0.4 < shown.out_of_reach < 0.7  # of N(0, 9): E(|y| - 1)² = 0.51 of its variance


def test_a_gradient_like_that_of_shares_which_add_up_to_one_is_none() -> None:
    """Behind a softmax nothing would be left of it, in any row."""
    shares = torch.full((B, K), 1 / K)
    assert told(shares.log(), shares / B, 0.3, -1) is None
