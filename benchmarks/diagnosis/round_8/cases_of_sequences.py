"""The trainings of the eighth round's films, sounds, texts, spikes and rides, by its second author."""

from __future__ import annotations

from entry import plain

_SGD = "optimizer=sgd"
_EXPLODES = "exploding_gradients bad_init_scale diverging_loss non_finite"

_BROKEN = (
    # --- films
    plain("puppets-raw", "film_classes", f"norm=none {_SGD} lr=0.08 steps=250",
          "raw=true", "bad_input_scale dead_units", "grey values"),
    plain("puppets-softmax", "film_classes", f"norm=none {_SGD} lr=0.05 steps=150",
          "head=softmax", "bad_output_head", "softmax in the net and in the loss"),
    plain("puppets-faint-weights", "film_classes", "depth=4 norm=none lr=0.002 steps=250",
          "init=normal", "bad_init_scale vanishing_gradients", "N(0, 0.01²) in nine layers"),
    plain("puppets-forgotten", "film_classes", "lr=0.01 steps=150",
          "trains=head", "no_gradient", "only the last layer was given to the optimizer"),
    plain("puppets-shuffled", "film_classes", "norm=batch lr=0.01 steps=150",
          "labels=shuffled", "loss_at_chance", "clips and moves in different orders"),
    plain("puppets-huge-rate", "film_classes", "norm=none lr=0.01 steps=200",
          "lr=0.3", "update_too_large diverging_loss dead_units"),
    # --- sounds
    plain("duets-rests", "voices", "",
          "eps=0", "non_finite", "a voice that rests has no energy to divide by"),
    plain("duets-double-sigmoid", "voices", "steps=150",
          "head=sigmoid", "bad_output_head", "the mask takes one of its own: from 0.5 to 0.73"),
    plain("duets-wrong-sign", "voices", "optimizer=adamw weight_decay=0.01",
          "loss_sign=-1", "diverging_loss exploding_gradients", "decibels, not their negative"),
    plain("duets-fp16", "voices", "loss_scale=1e-6 precision=bf16",
          "precision=fp16", "fp16_underflow no_gradient", "autocast without a loss scale"),
    plain("duets-value-clip", "voices", f"{_SGD} lr=0.01 clip=5",
          "clip=0.0005 clip_by=value", "chronic_clipping update_too_small"),
    plain("duets-raw", "voices", "norm=none",
          "raw=true", "bad_input_scale saturated_units", "steps of 16 bits"),
    plain("duets-faint-loss", "voices", f"{_SGD} lr=0.01 batch=16",
          "loss_scale=0.0003", "update_too_small", "a mean divided once more by all samples"),
    # --- texts
    plain("ledgers-chaotic", "span_reader", "cell=rnn init=orthogonal",
          "recurrent_gain=6", "exploding_through_time exploding_gradients saturated_units bad_init_scale"),
    plain("ledgers-tiny-rate", "span_reader", "optimizer=adamw weight_decay=0.01",
          "lr=1e-5", "update_too_small"),
    plain("ledgers-slip", "span_reader", "lr=0.002 batch=16",
          "schedule=spike", "update_too_large diverging_loss unstable_gradients saturated_units dead_units",
          "for three steps, a thousand times the rate"),
    plain("ledgers-deep-sigmoid", "span_reader", f"depth=6 activation=tanh init=xavier {_SGD} lr=0.1 steps=250",
          "activation=sigmoid", "vanishing_gradients saturated_units"),
    plain("ledgers-wide-init", "span_reader", f"depth=6 {_SGD} lr=0.02",
          "init_gain=3", _EXPLODES),
    plain("ledgers-detached", "span_reader", "batch=64 steps=150",
          "detach=true", "no_gradient", "the reader was kept out of the graph"),
    # --- spikes
    plain("crickets-silent", "spiking", f"{_SGD} lr=0.1",
          "init_gain=0.02", "bad_init_scale dead_units vanishing_gradients", "no potential comes near its threshold"),
    plain("crickets-below", "spiking", "depth=3 steps=200",
          "bias=-3", "dead_units bad_init_scale", "a current that holds every cell down"),
    plain("crickets-forget", "spiking", "dropout=0.1",
          "forget_bias=-6", "vanishing_through_time bad_init_scale", "potentials leak away at once"),
    plain("crickets-pairs", "spiking", "batch=2 lr=0.001 steps=500",
          "norm=batch", "small_batch_norm unstable_gradients", "batch norm of each step, over two rows"),
    plain("crickets-lost", "spiking", "batch=32",
          "bad=nan", "non_finite", "one click of each twentieth batch is not a number"),
    plain("crickets-alike", "spiking", "optimizer=adamw weight_decay=0.01",
          "init=constant", "symmetric_init"),
    # --- rides
    plain("unicycles-long-fall", "rider", f"{_SGD} lr=0.01",
          "length=60", "exploding_through_time exploding_gradients update_too_large diverging_loss saturated_units",
          "three seconds of motion: what falls, falls the faster"),
    plain("unicycles-hard-over", "rider", "",
          "head_gain=30", "saturated_units bad_output_head bad_init_scale", "the strongest push, always"),
    plain("unicycles-one-way", "rider", "depth=3 batch=32",
          "head=relu", "bad_output_head dead_units", "a wheel that turns one way only"),
    plain("unicycles-wrong-sign", "rider", "optimizer=adamw weight_decay=0.001",
          "loss_sign=-1", "diverging_loss saturated_units", "costs taken for rewards"),
    plain("unicycles-deep-default", "rider", f"depth=8 {_SGD} lr=0.01",
          "init=default", "vanishing_gradients bad_init_scale", "torch's own start, in a plain stack"),
    plain("unicycles-bumps", "rider", f"{_SGD} lr=0.01",
          "bad=inputs", "unstable_gradients saturated_units diverging_loss dead_units exploding_gradients",
          "rides that begin nowhere on earth"),
)  # fmt: skip

_HEALTHY = (
    plain("healthy-puppets-rezero", "film_classes", "skip=true rezero=true depth=4 norm=none lr=0.01 steps=250",
          note="no gradient in the branches at first"),
    plain("healthy-puppets-raw", "film_classes", "norm=batch raw=true lr=0.01 steps=200",
          note="the first norm takes it out"),
    plain("healthy-puppets-mixup", "film_classes", "mixup=true norm=batch smoothing=0.1 lr=0.01 steps=250",
          note="a loss that stays"),
    plain("healthy-duets-few", "voices", "batch=4 steps=600", note="noisy gradients, and a loss below 0"),
    plain("healthy-duets-plain", "voices", f"norm=none {_SGD} lr=0.01 clip=5 steps=400", note="clips now and then"),
    plain("healthy-ledgers-frozen", "span_reader", "freeze=true", note="vectors of words as they were drawn"),
    plain("healthy-ledgers-converged", "span_reader", "steps=400 schedule=cosine",
          note="nothing is left to learn, nor of the gradient"),
    plain("healthy-ledgers-bf16", "span_reader", "precision=bf16 loss_scale=1e-4 steps=150"),
    plain("healthy-crickets-sparse", "spiking", "bias=-0.3 init_gain=0.5", note="cells that hardly ever fire at first"),
    plain("healthy-crickets-dropout", "spiking", "dropout=0.3 optimizer=adamw weight_decay=0.05"),
    plain("healthy-unicycles-huge-loss", "rider", "loss_scale=1e4 schedule=warmup", note="Adam does not see it"),
    plain("healthy-unicycles-clipped", "rider", f"{_SGD} lr=0.02 clip=1", note="at first"),
    plain("healthy-unicycles-accumulated", "rider", "batch=16 accumulate=4 steps=100"),
)  # fmt: skip

CASES = (*_BROKEN, *_HEALTHY)
