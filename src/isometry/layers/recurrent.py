"""Layer-normalised recurrent cells, and the loop that runs a cell over time (Ba, Kiros & Hinton 2016).

The paper's supplement, in torch's gate order, LN(a) = gain · (a - mean) / √(variance + 1e-5) over a's features:

    LSTM  i, f, g, o = LN(W_ih x) + b_ih + LN(W_hh h) + b_hh                one LN for the four gates together
          c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(LN(c') + b_c)
    GRU   r, z = LN(W_ih x) + b_ih + LN(W_hh h) + b_hh                      one LN for the two gates together,
          n = tanh(LN(W_in x) + b_in + σ(r) (LN(W_hn h) + b_hn))            one for the candidate
          h' = (1 - σ(z)) n + σ(z) h
    RNN   h' = φ(LN(W_ih x) + b_ih + LN(W_hh h) + b_hh)

Where the paper's section 3.1 has one LN over the sum W_ih x + W_hh h, the RNN here has two as its LSTM has, so that in
all three the output depends on the direction of W_hh alone: a gradient cannot grow or decay by the size of W_hh.

The backward pass of LN divides by √(variance + 1e-5), too: where x or h is zero (a black row of an image), the gradient
on its way back to it is multiplied by 1 / √1e-5 = 316.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Called as `nn.LayerNorm(features, bias=...)`; with `nn.Identity` a cell is torch's own.
MakeNorm = Callable[..., nn.Module]

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


# --------------------------------------------------------------------------------------------- the cells
class _LayerNormCell(nn.RNNCellBase):
    """The parameters of torch's cell by their names, and a reset that leaves the norms' gains at 1."""

    def reset_parameters(self) -> None:
        """Weights and biases as in torch's cells, U(±1/√hidden_size); the norms by their own."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):  # torch's own would draw the norms' gains, too
            nn.init.uniform_(parameter, -bound, bound)
        for norm in self.children():
            if callable(reset := getattr(norm, "reset_parameters", None)):  # nn.Identity has none
                reset()

    def _zeros(self, input: Tensor) -> Tensor:
        """The state before the first step."""
        return input.new_zeros(*input.shape[:-1], self.hidden_size)


class LayerNormLSTMCell(_LayerNormCell):
    """`nn.LSTMCell` with layer normalisation: `(x [B, F], (h, c) [B, H]) -> (h', c')`; no state given is zero.

    Args:
        input_size: F.
        hidden_size: H.
        norm: Makes the norms; they add no bias where the cell has its own.
    """

    def __init__(self, input_size: int, hidden_size: int, norm: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(input_size, hidden_size, bias=True, num_chunks=4)
        self.norm_ih = norm(4 * hidden_size, bias=False)
        self.norm_hh = norm(4 * hidden_size, bias=False)
        self.norm_cell = norm(hidden_size, bias=True)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = (self._zeros(input), self._zeros(input)) if hx is None else hx
        gates = self.norm_ih(F.linear(input, self.weight_ih)) + self.bias_ih
        gates = gates + self.norm_hh(F.linear(h, self.weight_hh)) + self.bias_hh
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.norm_cell(c).tanh(), c


class LayerNormGRUCell(_LayerNormCell):
    """`nn.GRUCell` with layer normalisation: `(x [B, F], h [B, H]) -> h'`; no state given is zero.

    Args:
        input_size: F.
        hidden_size: H.
        norm: Makes the norms; they add no bias, the cell has its own.
    """

    def __init__(self, input_size: int, hidden_size: int, norm: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(input_size, hidden_size, bias=True, num_chunks=3)
        self.norm_ih = norm(2 * hidden_size, bias=False)
        self.norm_hh = norm(2 * hidden_size, bias=False)
        self.norm_in = norm(hidden_size, bias=False)
        self.norm_hn = norm(hidden_size, bias=False)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = self._zeros(input) if hx is None else hx
        gates_i, candidate_i = self._normed(F.linear(input, self.weight_ih), self.norm_ih, self.norm_in, self.bias_ih)
        gates_h, candidate_h = self._normed(F.linear(h, self.weight_hh), self.norm_hh, self.norm_hn, self.bias_hh)
        r, z = (gates_i + gates_h).sigmoid().chunk(2, dim=-1)
        n = torch.tanh(candidate_i + r * candidate_h)
        return (1 - z) * n + z * h

    def _normed(
        self, products: Tensor, norm_gates: nn.Module, norm_candidate: nn.Module, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        sizes = [2 * self.hidden_size, self.hidden_size]
        gates, candidate = products.split(sizes, dim=-1)
        bias_gates, bias_candidate = bias.split(sizes)
        return norm_gates(gates) + bias_gates, norm_candidate(candidate) + bias_candidate


class LayerNormRNNCell(_LayerNormCell):
    """`nn.RNNCell` with layer normalisation: `(x [B, F], h [B, H]) -> h'`; no state given is zero.

    Args:
        input_size: F.
        hidden_size: H.
        nonlinearity: "tanh" or "relu".
        norm: Makes the norms; they add no bias, the cell has its own.
    """

    def __init__(
        self, input_size: int, hidden_size: int, nonlinearity: str = "tanh", norm: MakeNorm = nn.LayerNorm
    ) -> None:
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f'nonlinearity must be "tanh" or "relu": got {nonlinearity!r}; choose one of the two')
        super().__init__(input_size, hidden_size, bias=True, num_chunks=1)
        self.nonlinearity = nonlinearity
        self.norm_ih = norm(hidden_size, bias=False)
        self.norm_hh = norm(hidden_size, bias=False)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        h = self._zeros(input) if hx is None else hx
        summed = self.norm_ih(F.linear(input, self.weight_ih)) + self.bias_ih
        summed = summed + self.norm_hh(F.linear(h, self.weight_hh)) + self.bias_hh
        return NONLINEARITIES[self.nonlinearity](summed)


# ------------------------------------------------------------------------------------------ over time
class Unrolled(nn.Module):
    """A cell run step by step over time from a zero state, in place of `nn.LSTM`, `nn.GRU`, `nn.RNN(batch_first=True)`.

    Args:
        cell: A cell of this file or of torch's.
    """

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        """`[B, T, F] -> (states h_1 … h_T [B, T, H], final state [1, B, H], or the two of an LSTM)`."""
        if input.dim() != 3 or input.shape[1] == 0 or input.shape[2] != self.cell.input_size:
            raise ValueError(
                f"Unrolled needs [B, T, {self.cell.input_size}] with T >= 1: got {list(input.shape)}; "
                "put the batch first, time second, and the cell's input_size last"
            )
        state: Tensor | tuple[Tensor, ...] | None = None
        states: list[Tensor] = []
        for features in input.unbind(dim=1):
            state = self.cell(features, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        final = tuple(part.unsqueeze(0) for part in state) if isinstance(state, tuple) else states[-1].unsqueeze(0)
        return torch.stack(states, dim=1), final
