"""Data of `networks`: knits, leaves, locks, otters, masks.

As in the suite's `tasks`, a task is the same every time. Kinds of their own: "stitches", "warps", "matches", "bells",
"capsules", whose losses and scores are in `losses`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tasks import TEST, TRAIN, Task
from torch import Tensor

ROWS = TRAIN + TEST
YARNS, STITCHES = 4, 10  # colours of wool; a side of a knit
PAPER = 16  # a side of a picture of a leaf
KEYS = 8  # on a ring


def knits(length: int) -> Task:
    """Knits in four greys, `[B, 1, 10, 10]`: a stitch depends on the one to its left and on the two above it.

    Targets `[B, 10, 10]` are the same stitches, as classes; recorded as grey values.
    """
    rng = _rng(1)
    habits = torch.softmax(2.5 * torch.randn(YARNS, YARNS, YARNS, YARNS, generator=rng), dim=3)
    knit = torch.zeros(ROWS, STITCHES + 1, STITCHES + 2, dtype=torch.long)  # a border of the first wool
    told = torch.zeros(())
    for row in range(1, STITCHES + 1):
        for column in range(1, STITCHES + 1):
            before = knit[:, row, column - 1], knit[:, row - 1, column], knit[:, row - 1, column + 1]
            chance = habits[before]
            knit[:, row, column] = torch.multinomial(chance, 1, generator=rng)[:, 0]
            told = told - (chance * chance.log()).sum(dim=1).mean() / STITCHES**2
    stitches = knit[:, 1:, 1:-1].contiguous()
    grey = stitches[:, None].float()
    return Task("stitches", (grey - 1.5) / 1.12, stitches, YARNS, floor=float(told), raw=20 + 70 * grey)


def leaves(length: int) -> Task:
    """Pressed leaves of one kind, each bent otherwise, `[B, 1, 16, 16]`; the one in the book is the target."""
    rng = _rng(2)
    book = _leaf()
    bends = 0.16 * torch.randn(ROWS, 2, 3, 3, generator=rng)
    picture = bent(book.expand(ROWS, 1, PAPER, PAPER), bends)
    picture = picture + 0.1 * torch.randn(picture.shape, generator=rng)
    return Task("warps", picture, book.expand(ROWS, PAPER, PAPER), 2, raw=100 + 50 * picture)


def _leaf() -> Tensor:
    """A blade with a rib and four veins, `[16, 16]`."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, PAPER), torch.linspace(-1, 1, PAPER), indexing="ij")
    blade = torch.sigmoid(8 * (0.75 - (1.4 * across).square() - down.square()))
    veins = torch.exp(-((8 * across).square())) + 0.7 * torch.cos(9 * down + 5 * across.abs()).clamp(min=0)
    return 2 * blade * (0.4 + veins) - 0.5 * blade


def bent(picture: Tensor, bends: Tensor) -> Tensor:
    """`[B, 1, H, W]`, looked up where control points `[B, 2, h, w]` move its grid (1: half its side)."""
    moves = F.interpolate(bends, size=picture.shape[2:], mode="bicubic", align_corners=True)
    still = torch.eye(2, 3).to(picture).expand(len(picture), 2, 3)
    grid = F.affine_grid(still, list(picture.shape), align_corners=True)
    return F.grid_sample(picture, grid + moves.permute(0, 2, 3, 1), align_corners=True)


def locks(length: int) -> Task:
    """A ring of eight keys and a row of eight locks, `[B, 2, 8, 6]`: which lock is each key's?

    A lock is made from its key by a rule of the trade; each smith files all keys and bores all locks a bit off.
    """
    rng = _rng(3)
    keys = torch.randn(ROWS, KEYS, 6, generator=rng)
    cut, bore = torch.randn(6, 12, generator=rng), torch.randn(12, 6, generator=rng) / 3
    holes = torch.tanh(0.8 * keys @ cut) @ bore + 0.05 * torch.randn(ROWS, KEYS, 6, generator=rng)
    order = torch.rand(ROWS, KEYS, generator=rng).argsort(dim=1)
    placed = holes.gather(1, order.argsort(dim=1)[:, :, None].expand(-1, -1, 6))
    off = torch.randn(ROWS, 2, 1, 6, generator=rng)
    both = torch.stack([keys, placed / placed.std()], dim=1) + off
    both = both / both.std()
    return Task("matches", both, order, KEYS, raw=3_000 + 400 * both)


def otters(length: int) -> Task:
    """Where an otter comes up again after a dive, in metres from a post, from six columns; to the left or the right.

    The floor is the entropy of two bells, as drawn.
    """
    rng = _rng(4)
    columns = torch.randn(ROWS, 6, generator=rng)
    depth, flow, prey, light, age = columns[:, :5].unbind(1)
    far = 1.5 + torch.sin(1.5 * depth) + 0.5 * flow * prey
    width = torch.exp(0.4 * age - 1.5)
    chance = torch.sigmoid(2 * light)
    side = torch.where(torch.rand(ROWS, generator=rng) < chance, 1.0, -1.0)
    place = side * far + width * torch.randn(ROWS, generator=rng)
    logs = [torch.distributions.Normal(sign * far, width).log_prob(place) for sign in (1, -1)]
    told = torch.logaddexp(chance.log() + logs[0], (1 - chance).log() + logs[1])[-TEST:]
    scales = torch.tensor([3.0, 25.0, 140.0, 9_000.0, 4.0, 60.0])
    return Task("bells", columns, place[:, None], 1, floor=-float(told.mean()), raw=scales * (4 + columns))


def masks(length: int) -> Task:
    """Two of three ornaments on a player's mask, `[B, 1, 14, 14]`, else black: which pair, and which is above?

    Six classes; recorded as grey values.
    """
    rng = _rng(5)
    ornaments = torch.tensor([_RING, _CROSS, _BAR], dtype=torch.float)
    pairs = torch.tensor([[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]])
    classes = torch.randint(6, (ROWS,), generator=rng)
    down = torch.stack([torch.randint(0, 3, (ROWS,), generator=rng), torch.randint(6, 9, (ROWS,), generator=rng)], 1)
    across = torch.randint(0, 9, (ROWS, 2), generator=rng)
    paint = 0.5 + 0.5 * torch.rand(ROWS, 2, 5, 5, generator=rng)
    picture = torch.zeros(ROWS, 1, 14, 14)
    rows, side = torch.arange(ROWS)[:, None, None], torch.arange(5)
    for place in range(2):
        there = rows, 0, down[:, place, None, None] + side[:, None], across[:, place, None, None] + side
        picture[there] = ornaments[pairs[classes, place]] * paint[:, place]
    speckled = torch.rand(picture.shape, generator=rng) < 0.04
    picture = torch.where(speckled, torch.rand(picture.shape, generator=rng), picture)
    return Task("capsules", 2 * picture, classes, 6, raw=255 * picture)


_RING = [[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]]
_CROSS = [[1, 0, 0, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]
_BAR = [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]

TASKS: dict[str, Callable[[int], Task]] = {each.__name__: each for each in (knits, leaves, locks, otters, masks)}


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(8000 + seed)
