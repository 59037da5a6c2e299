"""The depth profile of a network: for each weight layer the size of its output and of the gradient that reaches it.

Plain records, no torch: a profile is read from a saved run as well as measured (`probe.py`). The primary statistic is
the slope over depth of log RMS(∂L/∂z), z being a weight layer's output: weight-gradient norms are blind to textbook
vanishing, since in a bias-free ReLU net ⟨W, ∂L/∂W⟩ is equal in every layer.

A change of width or resolution changes the RMS once; it is a step, not a slope. So the slope is fitted within groups of
layers whose z has the same shape: one slope for all, an intercept for each (see `slope.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .slope import Fit, fit, on_the_way, usable

LEAST_SAMPLES = 8  # at least, for a loss to tell its targets: what fewer spread is noise


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One call of one weight layer in one pass.

    Args:
        name: Module path; a further call of the same module in the pass is `path@2`, `path@3` …
        depth: Of the weight layers on the longest path through the network, less those that lie between this one and
            the loss: 1 for the first of a chain (see `depth.py`).
        shape: Of z, without the batch axis (for recurrent layers without the time axis, too).
        activation_rms: Of z.
        activation_mean: Of z, over the first 8 samples.
        gradient_rms: Of ∂L/∂z; None where no gradient came back.
        nonfinite: NaN and infinite elements in z and ∂L/∂z.
        dead: Share of the units behind z that were exactly zero in all of at least 1,000 samples; None while fewer were
            seen and some unit was silent (one batch of zeros kills nobody), or where no activation was seen.
        saturated: Share of the activation's outputs with φ' below a twentieth of its largest; None where φ has no
            saturation or was not seen.
        expected_backward: What theory gives for RMS ∂L/∂z here over that of the next layer; None: no closed form.
        expected_forward: The same for RMS z of the next layer over that of this one.
        kind: Class of the layer: `Linear`, `Conv2d`, `LSTM` …
        samples: Size of z's batch axis.
        activation: Class of the activation module that follows, in lower case; None where none was seen.
        weight_spread: RMS(w - mean over units)/RMS(w) of its first 8 units: near 1 for random weights, 0 where all
            units are equal or all weights zero; None where there is nothing to compare.
        unit_sum: RMS over samples of Σ_k ∂L/∂z_k, over what independent gradients would give. Taken at the layer next
            to the loss alone; 0 behind a softmax, which does not change when all its inputs are shifted.
        unit_zeros: Share of exact zeros in ∂L/∂z among samples with any gradient (of a single output: among all
            samples); there alone, too. 0 for raw outputs.
        sample_spread: RMS(z - mean over samples)/RMS(z), there alone: 0 where the outputs are the same for all inputs.
        underflow: Share of the nonzero elements of a float16 ∂L/∂z with fewer than three bits left, below 4.8e-7: what
            is smaller is lost to zero; None for other types.
        detached: Whether z could have passed a gradient on and none came back.
    """

    name: str
    depth: int
    shape: tuple[int, ...]
    activation_rms: float
    activation_mean: float
    gradient_rms: float | None
    nonfinite: int = 0
    dead: float | None = None
    saturated: float | None = None
    expected_backward: float | None = None
    expected_forward: float | None = None
    kind: str = ""
    samples: int = 0
    activation: str | None = None
    weight_spread: float | None = None
    unit_sum: float | None = None
    unit_zeros: float | None = None
    underflow: float | None = None
    sample_spread: float | None = None
    detached: bool = False

    @property
    def module(self) -> str:
        """Path of the module, whichever of its calls this is."""
        path, _, number = self.name.rpartition("@")
        return path if path and number.isdigit() else self.name


@dataclass(frozen=True, slots=True)
class TimeProfile:
    """How far back through time the gradient of one recurrent layer reaches.

    Or, of a network of sequences without one that is known as such, that of its first layer, z_t being its output for
    position t: so of recurrences written by hand.

    Args:
        name: Of the layer; of several layers and directions, with `.l0`, `.l0_reverse` … behind.
        gradient_norms: ‖∂L/∂h_t‖ over the batch: what reaches state h_t along all paths. In the layer's own order: a
            direction that reads backwards has the end of the sequence first.
        last_norms: The same of what arrives at the last step alone; empty where nothing arrives at any other.
    """

    name: str
    gradient_norms: tuple[float, ...]
    last_norms: tuple[float, ...] = ()

    @property
    def reach(self) -> tuple[float, ...]:
        """What comes back from the last step: of losses at each step those of the others would hide it."""
        return self.last_norms or self.gradient_norms

    @property
    def fit(self) -> Fit | None:
        """Factor a step that the gradient takes on its way back through time."""
        return fit([(0, t, math.log10(norm)) for t, norm in enumerate(self.reach) if usable(norm)], -1)

    @property
    def horizon(self) -> int | None:
        """Steps back from the last one until the gradient has fallen tenfold; None: not within the sequence."""
        last = self.reach[-1]
        steps = enumerate(reversed(self.reach))
        return next((back for back, norm in steps if norm <= last / 10), None) if last > 0 else None


@dataclass(frozen=True)
class Profile:
    """What one pass showed.

    Args:
        step: Optimizer steps done before.
        layers: In order of depth.
        times: One for each recurrent layer and direction.
        unseen: Paths of weight layers that did not run as modules, or of which something stays hidden, with the reason.
        jacobian: Mean squared singular value of the input-output Jacobian, where it was asked for.
        loss: Of this pass. Where gradients are accumulated, this and ∂L/∂z are of the one batch, not its share.
        guess: What the loss would be of the best constant, where `targets` can say it: of squared errors and
            cross-entropies.
        link: What stands between the last layer and that loss, where `targets` can say it: "identity", "sigmoid" …
        out_of_reach: What of the guess's loss cannot go for that, as a share.
        elasticity: d ln L/d ln s, s being a factor on the outputs that the loss gets: Σ z ∂L/∂z over L, there. Near 2
            where outputs that are far too large make a squared error by themselves, 0 and less where none are.
        input_mean, input_std, input_largest: Of the numbers that the first weight layer got; where that got indices, of
            those of the batch that another one got; None where none did.
        batch_norm_samples: Size of the batch over which BatchNorms in train mode normalise; None without any.
    """

    step: int
    layers: tuple[LayerProfile, ...]
    times: tuple[TimeProfile, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    jacobian: float | None = None
    loss: float | None = None
    guess: float | None = None
    link: str | None = None
    out_of_reach: float | None = None
    elasticity: float | None = None
    input_mean: float | None = None
    input_std: float | None = None
    input_largest: float | None = None
    batch_norm_samples: int | None = None

    @cached_property
    def backward(self) -> Fit | None:
        """Fit of RMS(∂L/∂z); None where fewer than three layers share a shape with another."""
        return fit(on_the_way(self._points(lambda layer: layer.gradient_rms)), -1)

    @cached_property
    def backward_norms(self) -> Fit | None:
        """Fit of ‖∂L/∂z‖ over all layers, for nets whose every layer has another shape.

        The norm, not the RMS: that is what He's weights, of variance 2/fan_in, keep from one width to another.
        """
        return fit(on_the_way(self._norms()), -1)

    @cached_property
    def forward(self) -> Fit | None:
        """Fit of RMS(z)."""
        return fit(on_the_way(self._points(lambda layer: layer.activation_rms)), +1)

    @property
    def backward_gain(self) -> float | None:
        """Factor per layer of ∂L/∂z on its way from the loss to the input: below 1 it vanishes, above it explodes."""
        return self.backward.gain if self.backward else None

    @property
    def forward_gain(self) -> float | None:
        """Factor per layer of z on its way from the input to the loss."""
        return self.forward.gain if self.forward else None

    @property
    def fit_quality(self) -> float | None:
        """R² of the backward fit."""
        return self.backward.quality if self.backward else None

    @property
    def expected_backward_gain(self) -> float | None:
        """Theory's factor for the layers of the backward fit; None: no closed form for one of them."""
        return self._expected(lambda layer: layer.expected_backward)

    @property
    def expected_forward_gain(self) -> float | None:
        """Theory's factor for the layers of the forward fit."""
        return self._expected(lambda layer: layer.expected_forward)

    def _points(self, value: Callable[[LayerProfile], float | None]) -> Iterator[tuple[object, int, float]]:
        for layer in self.layers:
            size = value(layer)
            if size is not None and usable(size):
                yield layer.shape, layer.depth, math.log10(size)

    def _norms(self) -> Iterator[tuple[object, int, float]]:
        for layer in self.layers:
            if layer.gradient_rms is not None and usable(layer.gradient_rms):
                yield None, layer.depth, math.log10(layer.gradient_rms) + math.log10(math.prod(layer.shape)) / 2

    def _expected(self, factor: Callable[[LayerProfile], float | None]) -> float | None:
        """Geometric mean over all pairs of neighbours of equal shape."""
        factors = []
        for here, after in itertools.pairwise(self.layers):
            if here.shape == after.shape:
                factors.append(factor(here))
        if not factors or None in factors:
            return None
        return math.exp(sum(math.log(known) for known in factors if known) / len(factors))
