"""The trainings of the third round's nets of sequences, by its second author."""

from __future__ import annotations

from entry import plain

_SGD = "optimizer=sgd lr=0.01"
_CAUSAL_SGD = "optimizer=sgd lr=0.01 steps=150"
_TANK_RNN = "cell=rnn init=orthogonal lr=0.002 clip=1 steps=200"
_CODE_RNN = "cell=rnn init=orthogonal lr=0.002 clip=1 steps=250"

_BROKEN = (
    # --- the gradient over time
    plain("contours-forget", "sequence_code", "length=30 forget_bias=3",
          "forget_bias=-5", "vanishing_through_time"),
    plain("contours-default-init", "sequence_code", "cell=rnn init=orthogonal length=40 lr=0.002 steps=250",
          "init=default", "vanishing_through_time"),
    plain("contours-short-memory", "sequence_code", "cell=rnn init=orthogonal length=40 lr=0.002 steps=200",
          "recurrent_gain=0.3", "vanishing_through_time"),
    plain("gestures-chaotic", "pooled_both_ways", "cell=rnn init=orthogonal lr=0.002 clip=1 length=40 steps=200",
          "recurrent_gain=3", "exploding_through_time exploding_gradients saturated_units chronic_clipping"),
    plain("tank-chaotic", "stacked_levels", _TANK_RNN,
          "recurrent_gain=3", "exploding_through_time exploding_gradients saturated_units chronic_clipping"),
    plain("contours-chaotic", "sequence_code", _CODE_RNN,
          "recurrent_gain=3", "exploding_through_time exploding_gradients saturated_units chronic_clipping"),
    # --- the gradient over depth, the start, units
    plain("beats-default-init", "causal_classes", "depth=16 skip=false",
          "init=default", "vanishing_gradients bad_init_scale"),
    plain("beats-wide-init", "causal_classes", "optimizer=sgd lr=0.005 depth=10 skip=false steps=150",
          "init_gain=3", "exploding_gradients bad_init_scale bad_output_head non_finite"),
    plain("forms-no-norm", "gap_filler", "depth=12 lr=0.003 steps=60",
          "norm=none", "exploding_gradients bad_init_scale bad_output_head"),
    plain("beats-saturated", "causal_classes", f"{_CAUSAL_SGD} activation=tanh init=lecun skip=false",
          "init_gain=20", "saturated_units bad_init_scale exploding_gradients bad_output_head"),
    plain("beats-constant", "causal_classes", "skip=false norm=group",
          "init=constant", "symmetric_init"),
    # --- the rate
    plain("forms-huge-rate", "gap_filler", "",
          "lr=1", "update_too_large diverging_loss loss_at_chance"),
    plain("beats-diverge", "causal_classes", _CAUSAL_SGD,
          "lr=10", "diverging_loss update_too_large non_finite dead_units"),
    plain("tank-tiny-rate", "stacked_levels", "",
          "lr=1e-6", "update_too_small"),
    plain("gestures-clipped", "pooled_both_ways", "optimizer=sgd lr=0.2 steps=250",
          "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
    # --- the loss, the head, the data
    plain("gestures-raw", "pooled_both_ways", "",
          "raw=true", "bad_input_scale saturated_units", "pixels of a screen"),
    plain("tank-relu-head", "stacked_levels", "",
          "head=relu", "bad_output_head", "half of the targets are negative"),
    plain("gestures-shuffled", "pooled_both_ways", "",
          "labels=shuffled", "loss_at_chance"),
    plain("beats-bad-batches", "causal_classes", "",
          "bad=inputs", "unstable_gradients", "every twentieth batch is garbage of 1000 times the size"),
    # --- the graph, the numbers
    plain("contours-nan", "sequence_code", "",
          "bad=nan", "non_finite", "one number in each twentieth batch"),
    plain("forms-detached", "gap_filler", "",
          "detach=true", "no_gradient"),
    plain("contours-forgotten", "sequence_code", "",
          "trains=head", "no_gradient", "all but the head is missing from the optimizer"),
)  # fmt: skip

_HEALTHY = (
    plain("healthy-gestures", "pooled_both_ways", "cell=lstm dropout=0.2 lr=0.01 steps=150"),
    plain("healthy-gestures-converged", "pooled_both_ways", "lr=0.01 steps=200 clip=0.5", note="loss near 0"),
    plain("healthy-tank-long", "stacked_levels", "length=80 forget_bias=3 clip=1", note="clips now and then"),
    plain("healthy-tank-small-batch", "stacked_levels", "cell=gru batch=4 lr=0.005 steps=250",
           note="more noise than gradient"),
    plain("healthy-contours-tiny-loss", "sequence_code", "loss_scale=1e-4", note="Adam does not see it"),
    plain("healthy-beats-group", "causal_classes", "depth=12 norm=group activation=silu schedule=cosine lr=0.005"),
    plain("healthy-beats-dropout", "causal_classes", "dropout=0.2 width=32 steps=150"),
    plain("healthy-forms-postnorm", "gap_filler", "norm=post dropout=0.1 schedule=warmup optimizer=adamw "
          "weight_decay=0.05 steps=150"),
    plain("healthy-forms-deep", "gap_filler", "depth=6 lr=0.002 smoothing=0.1"),
)  # fmt: skip

CASES = (*_BROKEN, *_HEALTHY)
