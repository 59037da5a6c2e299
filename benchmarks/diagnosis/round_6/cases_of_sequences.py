"""The trainings of the sixth round's nets of sequences, sounds, stories and moves, by its second author."""

from __future__ import annotations

from entry import plain

_SGD = "optimizer=sgd"
_EXPLODES = "exploding_gradients bad_init_scale bad_output_head diverging_loss non_finite"

_BROKEN = (
    # --- two clocks
    plain("flares-forget", "two_rates", "length=40 norm=none lr=0.005",
          "forget_bias=-6", "vanishing_through_time"),
    plain("flares-chaotic", "two_rates", "cell=rnn norm=none init=orthogonal lr=0.003 steps=150",
          "recurrent_gain=4", "exploding_through_time exploding_gradients saturated_units bad_init_scale"),
    plain("flares-faint", "two_rates", f"norm=none {_SGD} lr=0.3",
          "input_scale=0.001", "bad_input_scale update_too_small", "millivolts taken for volts"),
    plain("flares-huge-rate", "two_rates", "optimizer=rmsprop lr=0.003",
          "lr=0.5", "update_too_large diverging_loss saturated_units"),
    plain("flares-pairs", "two_rates", "batch=2 lr=0.003 steps=250",
          "norm=batch", "small_batch_norm unstable_gradients", "batch norm inside the cell, over two rows"),
    plain("flares-saturated", "two_rates", f"norm=none {_SGD} lr=0.5 clip=1 steps=150",
          "init_gain=30 head_gain=0.03", "saturated_units bad_init_scale exploding_through_time exploding_gradients"),
    # --- a pyramid, and labels without an alignment
    plain("phones-tiny-init", "phone_listener", "depth=5",
          "init=normal", "vanishing_gradients bad_init_scale", "N(0, 0.01²)"),
    plain("phones-raw", "phone_listener", f"{_SGD} lr=0.1 clip=5 batch=32",
          "raw=true", "bad_input_scale saturated_units chronic_clipping", "energies as they were recorded"),
    plain("phones-clipped", "phone_listener", f"{_SGD} lr=0.1 clip=5 norm=layer",
          "clip=0.005", "chronic_clipping update_too_small"),
    plain("phones-mixed-up", "phone_listener", "optimizer=adamw weight_decay=0.01",
          "labels=shuffled", "loss_at_chance", "sounds and scripts in different orders"),
    # --- leaps, and a density
    plain("squalls-bad-labels", "forecast", "optimizer=rmsprop lr=0.002",
          "bad=labels every=10", "unstable_gradients diverging_loss non_finite",
          "every tenth batch in other units"),
    plain("squalls-wrong-sign", "forecast", "batch=32",
          "loss_sign=-1", "diverging_loss exploding_gradients non_finite", "a likelihood, not its negative"),
    plain("squalls-unsafe-scale", "forecast", "op=divide eps=0.3",
          "eps=0", "unstable_gradients exploding_gradients bad_output_head non_finite",
          "divided by a scale that may come close to 0"),
    plain("squalls-wide-head", "forecast", "depth=2 lr=0.003",
          "head_gain=30", "bad_output_head bad_init_scale exploding_gradients diverging_loss non_finite",
          "scales of exp(30)"),
    plain("squalls-wide-branches", "forecast", "depth=4 skip=true branch_gain=0.3",
          "branch_gain=3", _EXPLODES),
    plain("squalls-tiny-rate", "forecast", "schedule=cosine optimizer=adamw",
          "lr=1e-6", "update_too_small"),
    # --- values
    plain("rooms-born-dead", "doors", "batch=32",
          "bias=-3", "dead_units bad_init_scale vanishing_gradients"),
    plain("rooms-sigmoid", "doors", "depth=8 activation=tanh init=xavier",
          "activation=sigmoid", "vanishing_gradients saturated_units"),
    plain("rooms-dear", "doors", "optimizer=rmsprop lr=0.001",
          "head_gain=100", "bad_output_head bad_init_scale", "no door is worth a hundredth of what is said at first"),
    plain("rooms-fp16", "doors", "loss_scale=1e-6 precision=fp16-scaled",
          "precision=fp16", "fp16_underflow", "autocast without a loss scale"),
    plain("rooms-wide-init", "doors", f"depth=8 {_SGD} lr=0.05",
          "init_gain=4", _EXPLODES),
    plain("rooms-alike", "doors", "",
          "init=constant", "symmetric_init"),
    plain("rooms-garbage", "doors", f"{_SGD} lr=0.1",
          "bad=inputs", "unstable_gradients dead_units diverging_loss non_finite", "a camera that fails now and then"),
    # --- memories
    plain("stories-wide-words", "memory", "",
          "init_gain=20", "bad_init_scale bad_output_head exploding_gradients saturated_units"),
    plain("stories-spike", "memory", "",
          "schedule=spike", "update_too_large diverging_loss unstable_gradients dead_units"),
    plain("stories-forgotten", "memory", "batch=32",
          "trains=head", "no_gradient", "all but the head is missing from the optimizer"),
    plain("stories-zeros", "memory", "skip=false depth=3",
          "init=zeros", "symmetric_init no_gradient dead_units vanishing_gradients"),
    plain("stories-tiny-rate", "memory", "skip=false depth=3 activation=tanh",
          "lr=1e-5", "update_too_small"),
    # --- convolutions between attention
    plain("whistles-no-norm", "conformer", f"depth=3 {_SGD} lr=0.1",
          "norm=none", "diverging_loss exploding_gradients update_too_large bad_init_scale non_finite",
          "a rate that only norms can bear"),
    plain("whistles-softmax", "conformer", f"depth=1 {_SGD} lr=0.1",
          "head=softmax", "bad_output_head", "softmax in the model and in the loss"),
    plain("whistles-offset", "conformer", "dropout=0.1",
          "input_shift=50", "bad_input_scale", "decibels from an absolute zero"),
    plain("whistles-nan", "conformer", "depth=1 batch=64",
          "bad=nan", "non_finite", "one number in each twentieth batch"),
    plain("whistles-detached", "conformer", "steps=100",
          "detach=true", "no_gradient"),
    plain("whistles-clipped", "conformer", f"depth=1 {_SGD} lr=0.1 schedule=warmup",
          "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
)  # fmt: skip

_HEALTHY = (
    plain("healthy-flares-accumulated", "two_rates", "batch=8 accumulate=2 clip=0.5 schedule=cosine optimizer=adamw "
          "weight_decay=0.01 dropout=0.1", note="clips now and then"),
    plain("healthy-phones-frozen", "phone_listener", "freeze=true dropout=0.2", note="the first layers stay as drawn"),
    plain("healthy-phones-large-loss", "phone_listener", "loss_scale=1e4 cell=lstm lr=0.01",
          note="Adam does not see it"),
    plain("healthy-squalls-rezero", "forecast", "depth=3 skip=true rezero=true lr=0.01"),
    plain("healthy-squalls-noisy", "forecast", "batch=8 steps=250 lr=0.003", note="half of it cannot be learnt"),
    plain("healthy-rooms", "doors", "", note="the slow copy gets no gradient; the loss need not fall"),
    plain("healthy-rooms-tiny-loss", "doors", "loss_scale=1e-5 batch=16 optimizer=adamw norm=layer depth=4"),
    plain("healthy-stories-converged", "memory", f"{_SGD} lr=0.1 schedule=cosine steps=400", note="a loss near 0"),
    plain("healthy-stories-rezero", "memory", "rezero=true depth=4", note="no gradient in the dense layers at first"),
    plain("healthy-whistles-warmup", "conformer", "schedule=warmup smoothing=0.1 dropout=0.1 optimizer=adamw "
          "weight_decay=0.05 depth=3", note="rate from 0"),
    plain("healthy-whistles-mixup", "conformer", "mixup=true depth=1 steps=150", note="a loss that stays high"),
)  # fmt: skip

CASES = (*_BROKEN, *_HEALTHY)
