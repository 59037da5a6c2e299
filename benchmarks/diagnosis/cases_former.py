"""The former held-out part: residual nets, attention, cells in loops, autoencoders, signals, adversaries, fine-tuning.

Scored twice as the held-out part (`held_out.jsonl`), then looked at, and part of the training part since.
"""

from __future__ import annotations

from functools import partial

from entry import plain, project

_project, _plain = partial(project, "training"), partial(plain, "training")

_RESNET = "model=resnet model.width=4 data.batch_size=32 optimizer.lr=0.1"
_AUTO = "depth=10 activation=gelu init=default lr=0.005 norm=batch steps=150"
_PYRAMID, _SIGNALS = "optimizer=sgd lr=0.01", "optimizer=sgd lr=0.01"
_TOWERS = "optimizer=sgd lr=0.02"
_WAVES = "task=waves_in_time length=48 cell=rnn lr=0.003 steps=250 clip=1"

_BROKEN = (
    # --- the gradient over depth
    _project("resnet-no-norm", f"{_RESNET} model.depth=32",
             "norm=none", "exploding_gradients bad_init_scale bad_output_head non_finite", "branches without a scale"),
    _project("resnet-no-skips", f"{_RESNET} model.depth=32",
             "model.shortcut=none", "exploding_gradients", "BatchNorm and ReLU without skips: 1.21 a layer"),
    _project("resnet-plain-default", f"{_RESNET} model.depth=20 model.shortcut=none init=pytorch_default",
             "norm=none", "vanishing_gradients bad_init_scale"),
    _plain("pyramid-default-init", "pyramid", _PYRAMID,
           "init=default", "vanishing_gradients bad_init_scale"),
    _plain("pyramid-xavier", "pyramid", "optimizer=sgd lr=0.005 depth=20 width=120",
           "init=xavier init_gain=0.8", "vanishing_gradients bad_init_scale"),
    _plain("pyramid-four-times-he", "pyramid", _PYRAMID,
           "init_gain=2.5", "exploding_gradients bad_init_scale bad_output_head non_finite"),
    _plain("pyramid-chaotic", "pyramid", f"{_PYRAMID} activation=tanh init=lecun depth=20",
           "init_gain=3", "exploding_gradients saturated_units bad_init_scale"),
    _plain("autoencoder-no-norm", "autoencoder", _AUTO,
           "norm=none", "vanishing_gradients bad_init_scale"),
    _plain("signals-default-init", "signal_net", "depth=16",
           "init=default", "vanishing_gradients bad_init_scale"),
    _plain("transformer-no-norm", "transformer", "depth=12 steps=50",
           "norm=none", "exploding_gradients bad_init_scale bad_output_head"),
    # --- the start
    _plain("gan-constant", "gan", "steps=250 head_gain=0.3",
           "init=constant", "symmetric_init"),
    _project("resnet-constant", f"{_RESNET} model.depth=14",
             "init=constant", "symmetric_init"),
    _plain("towers-zeros", "two_towers", "",
           "init=zeros", "symmetric_init vanishing_gradients no_gradient"),
    _plain("pyramid-huge-logits", "pyramid", f"{_PYRAMID} depth=6",
           "head_gain=100", "bad_output_head bad_init_scale"),
    # --- units
    _plain("signals-born-dead", "signal_net", "",
           "bias=-10", "dead_units"),
    _plain("signals-killed", "signal_net", "",
           "schedule=spike", "dead_units update_too_large diverging_loss"),
    _plain("towers-born-dead", "two_towers", "",
           "bias=-10", "dead_units"),
    _plain("pyramid-saturated", "pyramid", f"{_PYRAMID} activation=tanh init=lecun depth=8",
           "input_scale=100", "saturated_units bad_input_scale"),
    # --- the rate
    _plain("transformer-huge-rate", "transformer", "",
           "lr=0.3", "update_too_large diverging_loss loss_at_chance"),
    _project("resnet-diverges", f"{_RESNET} model.depth=14",
             "optimizer.lr=100", "update_too_large diverging_loss non_finite dead_units"),
    _plain("unet-diverges", "unet", "",
           "lr=3", "update_too_large diverging_loss dead_units"),
    _plain("towers-diverge", "two_towers", _TOWERS,
           "lr=20", "diverging_loss update_too_large non_finite dead_units"),
    _project("resnet-tiny-rate", f"{_RESNET} model.depth=14",
             "optimizer.lr=1e-5", "update_too_small"),
    _plain("tuned-tiny-rate", "fine_tuned", "",
           "lr=1e-6", "update_too_small"),
    _project("resnet-clipped", f"{_RESNET} model.depth=14",
             "trainer.gradient_clip_val=0.001", "chronic_clipping update_too_small"),
    _plain("towers-clipped", "two_towers", _TOWERS,
           "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
    # --- the loss, the head, the data
    _plain("signals-double-softmax", "signal_net", _SIGNALS,
           "head=softmax", "bad_output_head", "softmax in the model and in the loss"),
    _plain("towers-double-softmax", "two_towers", "optimizer=sgd lr=0.01",
           "head=softmax", "bad_output_head", "softmax in the model and in the loss"),
    _plain("signals-sigmoid-mse", "signal_net", _SIGNALS,
           "head=sigmoid loss=mse", "bad_output_head update_too_small saturated_units"),
    _plain("towers-wrong-sign", "two_towers", "",
           "loss_sign=-1", "diverging_loss loss_at_chance exploding_gradients"),
    _plain("transformer-shuffled", "transformer", "",
           "labels=shuffled", "loss_at_chance"),
    _plain("signals-shuffled", "signal_net", "",
           "labels=shuffled", "loss_at_chance"),
    _plain("unet-raw", "unet", "",
           "raw=true", "bad_input_scale", "pixels from 0 to 255"),
    _plain("autoencoder-raw", "autoencoder", "steps=200",
           "raw=true", "bad_input_scale", "pixels from 0 to 255"),
    _plain("pyramid-raw", "pyramid", f"{_PYRAMID} depth=6",
           "raw=true", "bad_input_scale update_too_large diverging_loss"),
    _plain("signals-bad-batches", "signal_net", _SIGNALS,
           "bad=inputs", "unstable_gradients", "every twentieth batch is garbage of 1000 times the size"),
    _plain("autoencoder-bad-batches", "autoencoder", "steps=200",
           "bad=inputs", "unstable_gradients"),
    _plain("pyramid-small-batchnorm", "pyramid", "norm=layer batch=2 depth=6 lr=0.0005 steps=200",
           "norm=batch", "small_batch_norm unstable_gradients"),
    # --- the graph, the numbers
    _plain("transformer-detached", "transformer", "",
           "detach=true", "no_gradient"),
    _plain("towers-forgotten", "two_towers", "depth=5 width=32",
           "trains=head", "no_gradient", "all but the heads is missing from the optimizer"),
    _plain("gan-detached", "gan", "steps=250 head_gain=0.3",
           "detach=true", "no_gradient", "the critic's verdict does not reach the generator"),
    _plain("signals-divide", "signal_net", "op=divide eps=0.1",
           "eps=0", "non_finite"),
    _plain("autoencoder-nan", "autoencoder", "steps=200",
           "bad=nan", "non_finite", "one number in each twentieth batch"),
    _plain("pyramid-fp16", "pyramid", "depth=8 loss_scale=1e-5 precision=fp16-scaled",
           "precision=fp16", "fp16_underflow", "autocast without a loss scale"),
    _plain("towers-fp16", "two_towers", "loss_scale=1e-5 precision=fp16-scaled",
           "precision=fp16", "fp16_underflow", "autocast without a loss scale"),
    # --- the gradient over time
    _plain("gru-forgets", "cell_loop", "length=60 forget_bias=4",
           "forget_bias=-4", "vanishing_through_time"),
    _plain("loop-default-init", "cell_loop", "length=60 cell=rnn lr=0.001",
           "init=default", "vanishing_through_time"),
    _plain("loop-chaotic", "cell_loop", _WAVES,
           "recurrent_gain=3", "exploding_through_time exploding_gradients saturated_units chronic_clipping"),
)  # fmt: skip

_HEALTHY = (
    _project("healthy-resnet-zero-gamma", f"{_RESNET} model.depth=20 optimizer=adam optimizer.lr=0.02 "
             "model.zero_gamma=true trainer.max_steps=150", note="no gradient in the branches at first"),
    _project("healthy-resnet-rezero", f"{_RESNET} model.depth=14 optimizer=adam optimizer.lr=0.01 norm=none "
             "model.residual=rezero trainer.max_steps=200", note="no gradient in the branches at first"),
    _project("healthy-resnet-fixup", f"{_RESNET} model.depth=14 optimizer.lr=0.3 norm=none model.residual=fixup "
             "trainer.gradient_clip_val=1.0 trainer.max_steps=200"),
    _project("healthy-resnet-preactivation", f"{_RESNET} model.depth=20 model.preactivation=true label_smoothing=0.1"),
    _plain("healthy-gru-clipped", "cell_loop", "task=waves_in_time length=100 clip=1 lr=0.01"),
    _plain("healthy-transformer-postnorm", "transformer", "norm=post dropout=0.1 schedule=warmup lr=0.002"),
    _plain("healthy-transformer-letters", "transformer", "task=chain every_step=true depth=2 lr=0.003 "
           "weight_decay=0.05 optimizer=adamw", note="a loss at each step"),
    _plain("healthy-autoencoder-sigmoid", "autoencoder", "head=sigmoid activation=gelu steps=300 lr=0.005"),
    _plain("healthy-signals-batchnorm", "signal_net", "depth=12 norm=batch lr=0.01"),
    _plain("healthy-signals-rezero", "signal_net", "depth=20 skip=true rezero=true width=12",
           note="no gradient in the branches at first"),
    _plain("healthy-signals-small-batch", "signal_net", "batch=4 lr=0.001 steps=200"),
    _plain("healthy-signals-converged", "signal_net", "lr=0.005 steps=200", note="loss near 0"),
    _plain("healthy-gan", "gan", "steps=250 head_gain=0.3", note="two optimizers by hand, no loss that falls"),
    _plain("healthy-pyramid", "pyramid", "schedule=cosine activation=silu"),
    _plain("healthy-pyramid-tiny-loss", "pyramid", "loss_scale=1e-4 depth=8", note="Adam does not see it"),
    _plain("healthy-unet", "unet", "norm=group lr=0.005"),
    _plain("healthy-unet-accumulation", "unet", "batch=16 accumulate=4 steps=60 lr=0.005"),
    _plain("healthy-towers", "two_towers", "dropout=0.3 width=96 lr=0.002"),
    _plain("healthy-towers-mixup", "two_towers", "mixup=true clip=2"),
    _plain("healthy-tuned-frozen", "fine_tuned", "", note="only the head learns, as it should"),
    _plain("healthy-tuned-whole", "fine_tuned", "freeze=false lr=0.001 schedule=warmup"),
)  # fmt: skip

FORMER = (*_BROKEN, *_HEALTHY)
