"""The trainings of the fifth round's nets of fields, maps, tables, bodies and laws, by its first author."""

from __future__ import annotations

from entry import plain

_SGD = "optimizer=sgd"
_EXPLODES = "exploding_gradients bad_init_scale bad_output_head diverging_loss non_finite"

_BROKEN = (
    # --- fields
    plain("shocks-unscaled-transform", "field_operator", f"{_SGD} lr=0.02",
          "branch_gain=8", _EXPLODES, "a transform of 64 places that nobody divided by their root"),
    plain("shocks-summed-loss", "field_operator", f"{_SGD} lr=0.01 steps=120",
          "loss_scale=64", "update_too_large diverging_loss non_finite", "the sum over 64 places, not their mean"),
    plain("shocks-pascals", "field_operator", "schedule=cosine lr=0.005",
          "raw=true", "bad_input_scale", "the pressure of air, and a little more or less"),
    plain("shocks-sigmoid-head", "field_operator", "batch=16 optimizer=adamw weight_decay=0.01",
          "head=sigmoid", "bad_output_head", "half of the targets are negative"),
    plain("shocks-clipped", "field_operator", f"{_SGD} lr=0.05",
          "clip=0.001", "chronic_clipping update_too_small"),
    # --- maps
    plain("floods-growing", "settling", "activation=relu recurrent_gain=0.7",
          "recurrent_gain=2", "exploding_gradients exploding_through_time bad_init_scale bad_output_head"),
    plain("floods-dead", "settling", "activation=relu recurrent_gain=0.7 optimizer=rmsprop lr=0.001",
          "bias=-3", "dead_units bad_init_scale vanishing_gradients"),
    plain("floods-saturated", "settling", f"{_SGD} lr=0.1 clip=1",
          "init_gain=10", "saturated_units bad_init_scale exploding_gradients exploding_through_time bad_output_head"),
    plain("floods-shuffled", "settling", "batch=64 width=12",
          "labels=shuffled", "loss_at_chance"),
    plain("floods-sigmoid", "settling", "optimizer=adamw weight_decay=0.01",
          "activation=sigmoid", "vanishing_gradients vanishing_through_time saturated_units"),
    # --- curves of columns
    plain("yields-beyond-the-bells", "splines", "norm=none skip=false",
          "raw=true", "bad_input_scale dead_units vanishing_gradients no_gradient",
          "columns in units of their own: no bell is there"),
    plain("yields-wide-init", "splines", "norm=none skip=false clip=5",
          "init_gain=6", "bad_init_scale dead_units vanishing_gradients exploding_gradients bad_output_head",
          "all but the first layer's inputs lie beyond the bells"),
    plain("yields-too-sure", "splines", "batch=128",
          "head_gain=30", "bad_output_head bad_init_scale exploding_gradients unstable_gradients non_finite",
          "the exponential of what is far too large"),
    plain("yields-slips", "splines", "optimizer=adamw weight_decay=0.01",
          "bad=labels", "unstable_gradients", "in every twentieth batch kilograms, for tons"),
    plain("yields-two-rows", "splines", "batch=2 depth=2 lr=0.002 steps=900",
          "norm=batch", "small_batch_norm unstable_gradients"),
    plain("yields-log", "splines", "op=log eps=0.1",
          "eps=0", "non_finite"),
    # --- columns with attention
    plain("grades-double-sigmoid", "columns", f"{_SGD} lr=0.1",
          "head=sigmoid", "bad_output_head", "in the model, and in the loss once more"),
    plain("grades-offset", "columns", "optimizer=adamw weight_decay=0.05 dropout=0.1",
          "input_shift=100", "bad_input_scale", "divided by the spread, but the mean left in"),
    plain("grades-divided-twice", "columns", f"{_SGD} lr=0.1",
          "loss_scale=0.0156", "update_too_small", "a mean over 64 rows that was divided by 64 once more"),
    plain("grades-slip-of-schedule", "columns", "clip=1 steps=150",
          "schedule=spike", "update_too_large unstable_gradients diverging_loss"),
    plain("grades-wide-tokens", "columns", "schedule=warmup",
          "init_gain=20", "bad_init_scale saturated_units exploding_gradients bad_output_head"),
    plain("grades-fp16", "columns", "depth=1 batch=32 width=24 lr=0.005 loss_scale=1e-6 precision=fp16-scaled",
          "precision=fp16", "fp16_underflow", "autocast without a loss scale"),
    # --- bodies
    plain("charges-touching", "bodies", "",
          "eps=0", "non_finite", "in one row of fifty two bodies are at one place"),
    plain("charges-unscaled-sum", "bodies", "norm=none depth=3",
          "branch_gain=8", _EXPLODES, "a constant of the force in front of what the others do"),
    plain("charges-kilometres", "bodies", "optimizer=adamw weight_decay=0.01 schedule=cosine",
          "input_scale=0.01", "bad_input_scale", "each distance is as good as none"),
    plain("charges-born-dead", "bodies", "activation=relu",
          "bias=-5", "dead_units bad_init_scale vanishing_gradients"),
    plain("charges-masked", "bodies", "norm=none batch=64",
          "branch_gain=0", "no_gradient", "what the others do is multiplied by a mask of zeros"),
    plain("charges-small-normal", "bodies", "depth=4 norm=none skip=false",
          "init=normal", "vanishing_gradients bad_init_scale", "weights of 0.01"),
    # --- laws
    plain("membrane-stiff", "law", f"{_SGD} lr=0.01 steps=400",
          "lr=0.5", "update_too_large diverging_loss non_finite saturated_units"),
    plain("membrane-clipped", "law", f"{_SGD} lr=0.01 steps=400",
          "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
    plain("membrane-saturated", "law", "steps=300 batch=32",
          "init_gain=10", "saturated_units bad_init_scale exploding_gradients bad_output_head"),
    plain("membrane-sigmoid", "law", "depth=14 steps=200",
          "activation=sigmoid", "vanishing_gradients saturated_units"),
    plain("membrane-large-head", "law", "schedule=cosine steps=300",
          "head_gain=1000", "bad_output_head bad_init_scale exploding_gradients"),
    plain("membrane-far-places", "law", f"{_SGD} lr=0.01 depth=3 steps=300",
          "bad=inputs every=25", "unstable_gradients diverging_loss non_finite",
          "every twenty-fifth batch lies far outside"),
)  # fmt: skip

_HEALTHY = (
    plain("healthy-shocks-rezero", "field_operator", "depth=6 skip=true rezero=true", note="no waves at first"),
    plain("healthy-shocks-always-clipped", "field_operator", "loss_scale=1000 clip=1", note="Adam does not see it"),
    plain("healthy-shocks-four-rows", "field_operator", "batch=4 norm=layer optimizer=rmsprop lr=0.001 steps=250"),
    plain("healthy-floods-group", "settling", "norm=group optimizer=adamw weight_decay=0.01 dropout=0.1"),
    plain("healthy-yields-warmup", "splines", "dropout=0.05 schedule=warmup", note="most that is left is noise"),
    plain("healthy-grades-smoothing", "columns", "smoothing=0.2 dropout=0.2 optimizer=adamw weight_decay=0.1"),
    plain("healthy-grades-postnorm", "columns", "depth=3 norm=post schedule=warmup"),
    plain("healthy-charges-no-norm", "bodies", "depth=4 norm=none skip=false clip=1", note="clips now and then"),
    plain("healthy-membrane-converged", "law", "steps=600 schedule=cosine lr=0.005", note="the loss is near 0"),
    plain("healthy-membrane-tiny-loss", "law", "loss_scale=1e-5 batch=16 steps=300", note="Adam does not see it"),
    plain("healthy-membrane-bf16", "law", "precision=bf16 steps=300", note="differences of rounded numbers"),
)

CASES = (*_BROKEN, *_HEALTHY)
