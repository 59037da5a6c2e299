"""The trainings of the sixth round's nets of pictures, tables, fields, views and laws, by its first author."""

from __future__ import annotations

from entry import plain

_SGD = "optimizer=sgd"
_EXPLODES = "exploding_gradients bad_init_scale bad_output_head diverging_loss non_finite"

_BROKEN = (
    # --- pyramids with lateral ways
    plain("craters-tiny-weights", "lateral_pyramid", "norm=none depth=10 lr=0.003 steps=220",
          "init=normal", "vanishing_gradients bad_init_scale"),
    plain("craters-double-sigmoid", "lateral_pyramid", "optimizer=adamw weight_decay=0.01",
          "head=sigmoid", "bad_output_head", "the focal loss takes one of its own"),
    plain("craters-born-dead", "lateral_pyramid", "norm=none lr=0.003 steps=200",
          "bias=-10", "dead_units bad_init_scale bad_output_head"),
    plain("craters-clipped", "lateral_pyramid", f"{_SGD} lr=0.02 clip=1",
          "clip=0.005", "chronic_clipping update_too_small"),
    plain("craters-divide", "lateral_pyramid", "norm=none op=divide eps=0.01",
          "eps=0", "non_finite dead_units", "channels over the largest they reach in the batch"),
    # --- cellular automata
    plain("meadows-loud-rule", "cellular", f"{_SGD} lr=0.05",
          "branch_gain=3", f"{_EXPLODES} exploding_through_time", "what the rule says is added six times"),
    plain("meadows-sigmoid", "cellular", "skip=false branch_gain=1 activation=tanh init=xavier",
          "activation=sigmoid", "vanishing_gradients saturated_units vanishing_through_time"),
    plain("meadows-faint-rule", "cellular", "skip=false branch_gain=1 depth=8 init=default steps=120",
          "init=normal", "vanishing_gradients bad_init_scale vanishing_through_time"),
    plain("meadows-detached", "cellular", "steps=120 schedule=cosine",
          "detach=true", "no_gradient"),
    plain("meadows-raw", "cellular", "batch=16",
          "raw=true", "bad_input_scale diverging_loss", "masks of 0 and 255"),
    plain("meadows-slip", "cellular", "steps=120",
          "schedule=spike",
          "update_too_large dead_units diverging_loss unstable_gradients exploding_gradients non_finite"),
    # --- spectral operators
    plain("rods-loud-waves", "spectral_operator", f"{_SGD} lr=0.005",
          "branch_gain=16", _EXPLODES, "matrices of the waves that start at 1"),
    plain("rods-raw", "spectral_operator", f"{_SGD} lr=0.005 activation=relu init=xavier",
          "raw=true", "bad_input_scale diverging_loss non_finite", "kelvins"),
    plain("rods-relu-head", "spectral_operator", "lr=0.005 norm=group",
          "head=relu", "bad_output_head", "half of a wave is negative"),
    plain("rods-bad-batches", "spectral_operator", f"{_SGD} lr=0.005 depth=4 init=xavier",
          "bad=inputs", "unstable_gradients non_finite diverging_loss",
          "every twentieth batch is garbage of 1000 times the size"),
    plain("rods-fp16", "spectral_operator", "loss_scale=1e-6 steps=120",
          "precision=fp16", "fp16_underflow no_gradient", "a mean divided once more by what it is the mean of"),
    plain("rods-faint-layers", "spectral_operator", f"{_SGD} lr=0.005 depth=6",
          "init_gain=0.2", "vanishing_gradients bad_init_scale"),
    # --- splines between columns
    plain("harvests-raw", "curves", "norm=none lr=0.01",
          "raw=true", "bad_input_scale dead_units", "off the splines' grid"),
    plain("harvests-small-batch", "curves", "batch=2 lr=0.001 steps=500",
          "norm=batch", "small_batch_norm"),
    plain("harvests-bad-labels", "curves", "lr=0.01 batch=32",
          "bad=labels every=10", "unstable_gradients", "grams for tonnes in every tenth batch"),
    plain("harvests-log", "curves", "op=log eps=0.1",
          "eps=0", "non_finite"),
    plain("harvests-sure", "curves", f"{_SGD} lr=0.02",
          "head_gain=100", "bad_output_head exploding_gradients non_finite bad_init_scale diverging_loss",
          "log variances of tens"),
    plain("harvests-loud-curves", "curves", "depth=4 lr=0.002",
          "branch_gain=10", "bad_init_scale exploding_gradients bad_output_head"),
    # --- tables as tokens
    plain("wines-loud-branches", "column_tokens", "norm=none branch_gain=0.3 depth=4",
          "branch_gain=3", _EXPLODES, "no norms, and three times what each branch says"),
    plain("wines-huge-rate", "column_tokens", "optimizer=adamw weight_decay=0.05 dropout=0.1",
          "lr=0.1", "update_too_large diverging_loss loss_at_chance"),
    plain("wines-tiny-rate", "column_tokens", "depth=1 batch=128",
          "lr=1e-6", "update_too_small"),
    plain("wines-shuffled", "column_tokens", "schedule=warmup",
          "labels=shuffled", "loss_at_chance", "rows sorted apart from their grades"),
    plain("wines-softmax", "column_tokens", "activation=gelu",
          "head=softmax", "bad_output_head", "better than 0 and better than 1 do not exclude each other"),
    # --- views told from others
    plain("soundings-temperature", "told_apart", "lr=0.01 steps=250",
          "head_gain=100", "bad_output_head exploding_gradients unstable_gradients", "multiplied twice by the inverse"),
    plain("soundings-offset", "told_apart", "optimizer=rmsprop lr=0.001 steps=250",
          "input_shift=30", "bad_input_scale"),
    plain("soundings-faint", "told_apart", f"{_SGD} lr=0.1",
          "loss_scale=0.003", "update_too_small", "a mean divided once more by the views of the batch"),
    plain("soundings-wrong-sign", "told_apart", "norm=layer lr=0.003",
          "loss_sign=-1", "diverging_loss"),
    # --- a physical law
    plain("drum-saturated", "lawful", "",
          "init_gain=8", "saturated_units bad_init_scale exploding_gradients bad_output_head"),
    plain("drum-forgotten", "lawful", "schedule=cosine batch=128 steps=200",
          "trains=head", "no_gradient", "only the last layer was given to the optimizer"),
    plain("drum-overflow", "lawful", "loss_scale=1e6 precision=bf16",
          "precision=fp16", "non_finite", "gradients beyond 65504"),
    plain("drum-constant", "lawful", "lr=0.003",
          "init=constant", "symmetric_init"),
    plain("drum-diverges", "lawful", f"{_SGD} lr=0.01 steps=200",
          "lr=1", "diverging_loss update_too_large non_finite saturated_units"),
    plain("drum-value-clip", "lawful", f"{_SGD} lr=0.02",
          "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
)  # fmt: skip

_HEALTHY = (
    plain("healthy-craters-small-batch", "lateral_pyramid", "batch=6 lr=0.004 steps=250", note="groups normalise"),
    plain("healthy-craters-accumulation", "lateral_pyramid", "batch=8 accumulate=4 steps=140 lr=0.008"),
    plain("healthy-meadows-rezero", "cellular", "rezero=true depth=8 lr=0.01 steps=120"),
    plain("healthy-meadows-tiny-loss", "cellular", "loss_scale=1e-5 clip=1 steps=120", note="Adam does not see it"),
    plain("healthy-rods-converged", "spectral_operator", "steps=350 lr=0.005 schedule=cosine"),
    plain("healthy-rods-frozen", "spectral_operator", "freeze=true lr=0.01 width=32 depth=2 steps=250",
          note="waves at random, a head that is fitted to them"),
    plain("healthy-rods-bf16", "spectral_operator", "precision=bf16 norm=group skip=true depth=4 steps=120"),
    plain("healthy-harvests-clipped", "curves", f"{_SGD} lr=0.02 clip=1 batch=16", note="now and then"),
    plain("healthy-harvests-few", "curves", "batch=4 lr=0.002 norm=layer steps=400", note="noisy gradients"),
    plain("healthy-wines-postnorm", "column_tokens", "norm=post depth=4 schedule=warmup steps=150"),
    plain("healthy-wines-dropout", "column_tokens", "dropout=0.25 optimizer=adamw weight_decay=0.1 smoothing=0.05"),
    plain("healthy-soundings-smoothing", "told_apart", "smoothing=0.2 lr=0.005 steps=250", note="never near 0"),
    plain("healthy-soundings-huge-loss", "told_apart", "loss_scale=1e5 schedule=warmup lr=0.005"),
    plain("healthy-drum-silu", "lawful", "activation=silu init=he depth=6 skip=true branch_gain=0.5"),
)  # fmt: skip

CASES = (*_BROKEN, *_HEALTHY)
