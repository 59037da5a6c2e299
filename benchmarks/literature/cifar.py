"""Claims that want a GPU: CIFAR-10 by the residual nets (He 2016, table 6), as commands that are ready to be run.

The paper's protocol in this project's words: 64,000 steps of 128 images, rate 0.1 divided by 10 at 32,000 and 48,000,
momentum 0.9, decay 1e-4, pad-4 crops and mirrored halves, shortcuts of option A, float32. What differs: 1,000 of the
50,000 training images choose the checkpoint that is tested, the paper tests the last; the mean is of a channel, not of
each pixel; momentum is Nesterov's; norms and biases do not decay. The paper's 110 layers start at 0.01 until the
error is below 80 %, about 400 steps: here that is a linear warm-up over 400.
"""

from __future__ import annotations

from claim import Claim, near

ERRORS = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}  # per cent
STEPS = 64_000
EPOCHS = 168  # of 382 batches: 49,000 images


def _command(depth: int) -> str:
    words = f"data=cifar10 data.val_fraction=0.02 model=resnet model.depth={depth} optimizer.weight_decay=1e-4"
    words += f" scheduler=step trainer=gpu trainer.precision=32-true trainer.max_epochs={EPOCHS}"
    words += f" trainer.max_steps={STEPS}"
    return f"python train.py {words}" + (f" scheduler.warmup={400 / STEPS:g}" if depth == 110 else "")


CLAIMS = tuple(
    Claim(
        f"resnet_{depth}",
        f"ResNet-{depth} has {error} % test error on CIFAR-10.",
        "He 2016, table 6",
        f"{error} %",
        "64,000 steps of 128 images, 0.1 divided by 10 at 32k and 48k, momentum 0.9, decay 1e-4, crops and mirrors",
        "{error:.2f} %",
        (near("error", error, 0.05),),
        0.0,
        None,
        command=_command(depth),
    )
    for depth, error in ERRORS.items()
)
