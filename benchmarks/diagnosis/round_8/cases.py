"""The trainings of the eighth round's nets without time: knits, leaves, locks, otters, masks."""

from __future__ import annotations

from entry import plain

_SGD = "optimizer=sgd"
_EXPLODES = "exploding_gradients bad_init_scale bad_output_head diverging_loss non_finite"

_BROKEN = (
    # --- pictures point by point
    plain("knits-faint-layers", "masked_convolutions", f"depth=6 {_SGD} lr=0.1 steps=300",
          "init_gain=0.5", "vanishing_gradients bad_init_scale"),
    plain("knits-loud-branches", "masked_convolutions", "depth=10 skip=true branch_gain=0.3 lr=0.003",
          "branch_gain=3", _EXPLODES, "what each branch adds is three times what it was given"),
    plain("knits-raw", "masked_convolutions", f"{_SGD} lr=0.05 steps=300",
          "raw=true", "bad_input_scale dead_units", "grey values"),
    plain("knits-softmax", "masked_convolutions", "activation=gelu steps=250",
          "head=softmax", "bad_output_head", "the loss takes one of its own"),
    plain("knits-born-dead", "masked_convolutions", "optimizer=adamw weight_decay=0.01",
          "bias=-5", "dead_units bad_init_scale"),
    plain("knits-clipped", "masked_convolutions", f"norm=layer {_SGD} lr=0.1 clip=1 steps=250",
          "clip=0.0005", "chronic_clipping update_too_small"),
    plain("knits-alike", "masked_convolutions", "lr=0.003 steps=250",
          "init=constant", "symmetric_init"),
    # --- pictures bent onto one of a book
    plain("leaves-wide-init", "registration", "depth=9",
          "init_gain=3", _EXPLODES),
    plain("leaves-one-way", "registration", "norm=group lr=0.003",
          "head=sigmoid", "bad_output_head", "bends to the right and downwards only"),
    plain("leaves-torn", "registration", f"{_SGD} lr=0.03 steps=300",
          "bad=inputs", "unstable_gradients diverging_loss non_finite dead_units", "each twentieth batch is noise"),
    plain("leaves-detached", "registration", "lr=0.003 depth=6 steps=300",
          "detach=true", "no_gradient"),
    plain("leaves-wrong-sign", "registration", "skip=true batch=64",
          "loss_sign=-1", "diverging_loss", "likeness, not its negative, is made small"),
    plain("leaves-dark-channel", "registration", "op=divide eps=0.1 steps=300",
          "eps=0", "non_finite", "each channel by its largest value in the batch, which may be 0"),
    # --- sets matched with sets
    plain("locks-deep-sigmoid", "assignment", f"depth=6 activation=tanh init=xavier {_SGD} lr=0.05",
          "activation=sigmoid", "vanishing_gradients saturated_units"),
    plain("locks-saturated", "assignment", "activation=tanh init=xavier steps=400",
          "init_gain=20", "saturated_units bad_init_scale bad_output_head exploding_gradients"),
    plain("locks-micrometres", "assignment", "activation=gelu steps=400",
          "raw=true", "bad_input_scale"),
    plain("locks-detached", "assignment", "batch=64 lr=0.003",
          "detach=true", "no_gradient"),
    plain("locks-slip", "assignment", "lr=0.003 activation=silu",
          "schedule=spike", "update_too_large diverging_loss unstable_gradients dead_units"),
    plain("locks-faint-weights", "assignment", "depth=5 optimizer=adamw weight_decay=0.01",
          "init=normal", "bad_init_scale vanishing_gradients", "N(0, 0.01²)"),
    plain("locks-tiny-rate", "assignment", "schedule=cosine optimizer=adamw weight_decay=0.01",
          "lr=1e-6", "update_too_small"),
    # --- bells
    plain("otters-fp16", "mixture_density", "loss_scale=1e-6 precision=bf16 steps=600",
          "precision=fp16", "fp16_underflow no_gradient", "averaged over the dives of a year, not over the batch"),
    plain("otters-pairs", "mixture_density", "batch=2 norm=layer lr=0.001 steps=2000",
          "norm=batch", "small_batch_norm unstable_gradients"),
    plain("otters-huge-rate", "mixture_density", f"{_SGD} lr=0.02 steps=600",
          "lr=1", "update_too_large diverging_loss non_finite"),
    plain("otters-shuffled", "mixture_density", "dropout=0.1 norm=layer steps=600",
          "labels=shuffled", "loss_at_chance", "places of one diary, columns of another"),
    plain("otters-millimetres", "mixture_density", f"{_SGD} lr=0.01 steps=600",
          "bad=labels", "unstable_gradients non_finite diverging_loss dead_units", "some places in millimetres"),
    plain("otters-softplus", "mixture_density", "activation=silu steps=600",
          "head=relu", "bad_output_head", "means and log widths that cannot be negative"),
    # --- capsules
    plain("masks-no-length", "capsules", "",
          "eps=0", "non_finite", "vectors of black points are divided by their length"),
    plain("masks-faint-votes", "capsules", f"{_SGD} lr=0.3 steps=250",
          "branch_gain=0.02", "bad_init_scale vanishing_gradients", "squashed, what is small becomes its square"),
    plain("masks-raw", "capsules", f"{_SGD} lr=0.2 norm=none depth=3",
          "raw=true", "bad_input_scale saturated_units"),
    plain("masks-born-dead", "capsules", "depth=4 lr=0.003",
          "bias=-5", "dead_units bad_init_scale"),
    plain("masks-frozen", "capsules", "depth=3 activation=leaky_relu",
          "freeze=true", "no_gradient", "convolutions at random, never unfrozen"),
    plain("masks-value-clip", "capsules", f"{_SGD} lr=0.3 steps=250 clip=2",
          "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
)  # fmt: skip

_HEALTHY = (
    plain("healthy-knits-rezero", "masked_convolutions", "depth=10 skip=true rezero=true lr=0.01",
          note="branches that begin silent"),
    plain("healthy-knits-huge-loss", "masked_convolutions", "loss_scale=1e4 precision=bf16 steps=250",
          note="a sum over points and rows; Adam does not see it"),
    plain("healthy-leaves-few", "registration", "batch=4 steps=400", note="noisy gradients"),
    plain("healthy-leaves-quiet", "registration", "head_gain=0.0001 lr=0.003 depth=6",
          note="bends that begin at nothing: faint gradients behind them"),
    plain("healthy-leaves-tiny-loss", "registration", "norm=group loss_scale=1e-4 schedule=warmup lr=0.005"),
    plain("healthy-locks-accumulated", "assignment", "batch=8 accumulate=4 steps=200"),
    plain("healthy-locks-dropout", "assignment", "dropout=0.2 norm=layer smoothing=0.1 steps=400"),
    plain("healthy-locks-converged", "assignment", "steps=700 lr=0.005 schedule=cosine",
          note="hardly any gradient in the end"),
    plain("healthy-otters-clipped", "mixture_density", f"{_SGD} lr=0.02 clip=6 steps=700",
          note="narrow bells make a steep batch now and then"),
    plain("healthy-otters-sigmoid", "mixture_density", "activation=sigmoid init=xavier lr=0.01 depth=2 steps=700"),
    plain("healthy-masks-sparse", "capsules", "bias=-0.2 depth=3", note="most points are black, most ReLUs at rest"),
    plain("healthy-masks-warmup", "capsules", f"{_SGD} lr=0.2 schedule=warmup depth=3 steps=300"),
    plain("healthy-masks-decay", "capsules", "optimizer=adamw weight_decay=0.1 activation=gelu steps=300"),
)  # fmt: skip

CASES = (*_BROKEN, *_HEALTHY)
