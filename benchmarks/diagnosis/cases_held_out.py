"""The held-out part: residual nets, attention, cells in loops, autoencoders, signals, adversaries, fine-tuning.

Not to be looked at while rules are made: thresholds are set on the training part alone.
"""

from __future__ import annotations

from entry import Case, cures

_PART = "held-out"
_OF_KIND = {
    "pyramid": cures("dense", "0.0003", "0.003"),
    "autoencoder": cures("dense", "0.0005", "0.01"),
    "two_towers": cures("dense", "0.0003", "0.003"),
    "gan": cures("dense", "0.0005", "0.01"),
    "signal_net": cures("convolutions", "0.0003", "0.003"),
    "unet": cures("convolutions", "0.0005", "0.003"),
    "fine_tuned": cures("convolutions", "0.0003", "0.01"),
    "transformer": cures("transformer", "0.0003", "0.003"),
    "cell_loop": cures("recurrent", "0.0003", "0.01", cell="cell=gru forget_bias=4"),
}
_RESNET = "model=resnet model.width=4 data.batch_size=32 optimizer.lr=0.1"
_AUTO = "depth=10 activation=gelu init=default lr=0.005 norm=batch steps=150"


def _resnet(name: str, words: str, fault: str = "", rules: str = "", note: str = "") -> Case:
    told = tuple(f"{_RESNET} {words}".split()), tuple(fault.split()), tuple(rules.split())
    return Case(name, _PART, "resnet", "project", *told, note=note)


def _plain(name: str, kind: str, words: str, fault: str = "", rules: str = "", note: str = "", **own: str) -> Case:
    usual = _OF_KIND[kind] if fault else {}
    told = tuple(words.split()), tuple(fault.split()), tuple(rules.split())
    return Case(name, _PART, kind, kind, *told, usual | {key: tuple(text.split()) for key, text in own.items()}, note)


_BROKEN = (
    # --- the gradient over depth
    _resnet("resnet-no-norm", "model.depth=32", "norm=none", "exploding_gradients bad_init_scale bad_output_head non_finite"),
    _resnet("resnet-no-skips", "model.depth=32", "model.shortcut=none", "exploding_gradients"),
    _resnet("resnet-plain-default", "model.depth=20 model.shortcut=none init=pytorch_default", "norm=none", "vanishing_gradients bad_init_scale"),
    _plain("pyramid-default-init", "pyramid", "optimizer=sgd lr=0.01", "init=default", "vanishing_gradients bad_init_scale"),
    _plain("pyramid-xavier", "pyramid", "optimizer=sgd lr=0.005 depth=20 width=120", "init=xavier init_gain=0.8", "vanishing_gradients bad_init_scale"),
    _plain("pyramid-four-times-he", "pyramid", "optimizer=sgd lr=0.01", "init_gain=2.5", "exploding_gradients bad_init_scale bad_output_head non_finite"),
    _plain("pyramid-chaotic", "pyramid", "optimizer=sgd lr=0.01 activation=tanh init=lecun depth=20", "init_gain=3", "exploding_gradients saturated_units bad_init_scale"),
    _plain("autoencoder-no-norm", "autoencoder", _AUTO, "norm=none", "vanishing_gradients bad_init_scale"),
    _plain("signals-default-init", "signal_net", "depth=16", "init=default", "vanishing_gradients bad_init_scale"),
    _plain("transformer-no-norm", "transformer", "depth=12 steps=60", "norm=none", "exploding_gradients bad_init_scale bad_output_head"),
    # --- the start
    _plain("gan-constant", "gan", "steps=200", "init=constant", "symmetric_init"),
    _resnet("resnet-constant", "model.depth=14", "init=constant", "symmetric_init"),
    _plain("towers-zeros", "two_towers", "", "init=zeros", "symmetric_init vanishing_gradients no_gradient"),
    _plain("pyramid-huge-logits", "pyramid", "optimizer=sgd lr=0.01 depth=6", "head_gain=100", "bad_output_head bad_init_scale"),
    # --- units
    _plain("signals-born-dead", "signal_net", "", "bias=-10", "dead_units"),
    _plain("signals-killed", "signal_net", "", "schedule=spike", "dead_units update_too_large"),
    _plain("towers-born-dead", "two_towers", "", "bias=-10", "dead_units"),
    _plain("signals-saturated", "signal_net", "activation=tanh init=lecun optimizer=sgd lr=0.03", "input_scale=100", "saturated_units bad_input_scale"),
    # --- the rate
    _plain("transformer-huge-rate", "transformer", "", "lr=0.3", "update_too_large diverging_loss loss_at_chance"),
    _resnet("resnet-diverges", "model.depth=14", "optimizer.lr=100", "update_too_large diverging_loss non_finite dead_units"),
    _plain("unet-diverges", "unet", "", "lr=3", "update_too_large diverging_loss dead_units"),
    _plain("towers-diverge", "two_towers", "optimizer=sgd lr=0.02", "lr=20", "diverging_loss update_too_large non_finite dead_units"),
    _resnet("resnet-tiny-rate", "model.depth=14", "optimizer.lr=1e-5", "update_too_small"),
    _plain("tuned-tiny-rate", "fine_tuned", "", "lr=1e-6", "update_too_small"),
    _resnet("resnet-clipped", "model.depth=14", "trainer.gradient_clip_val=0.001", "chronic_clipping update_too_small"),
    _plain("towers-clipped", "two_towers", "optimizer=sgd lr=0.02", "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
    # --- the loss, the head, the data
    _plain("transformer-double-softmax", "transformer", "optimizer=sgd lr=0.05", "head=softmax", "bad_output_head"),
    _plain("signals-sigmoid-mse", "signal_net", "optimizer=sgd lr=0.03", "head=sigmoid loss=mse", "bad_output_head update_too_small saturated_units"),
    _plain("autoencoder-relu-head", "autoencoder", _AUTO, "head=relu head_gain=10", "bad_output_head dead_units bad_init_scale"),
    _plain("towers-wrong-sign", "two_towers", "", "loss_sign=-1", "diverging_loss loss_at_chance"),
    _plain("transformer-shuffled", "transformer", "", "labels=shuffled", "loss_at_chance"),
    _plain("signals-shuffled", "signal_net", "", "labels=shuffled", "loss_at_chance"),
    _plain("unet-raw", "unet", "", "raw=true", "bad_input_scale"),
    _plain("tuned-raw", "fine_tuned", "", "raw=true", "bad_input_scale bad_output_head"),
    _plain("pyramid-raw", "pyramid", "optimizer=sgd lr=0.01 depth=6", "raw=true", "bad_input_scale diverging_loss update_too_large"),
    _plain("signals-bad-batches", "signal_net", "optimizer=sgd lr=0.03", "bad=inputs", "unstable_gradients diverging_loss"),
    _plain("autoencoder-bad-batches", "autoencoder", "steps=200", "bad=inputs", "unstable_gradients"),
    _plain("pyramid-small-batchnorm", "pyramid", "norm=layer batch=2 depth=6 lr=0.0005 steps=200", "norm=batch", "small_batch_norm unstable_gradients"),
    # --- the graph, the numbers
    _plain("transformer-detached", "transformer", "", "detach=true", "no_gradient"),
    _plain("towers-forgotten", "two_towers", "depth=5 width=32", "trains=head", "no_gradient"),
    _plain("gan-detached", "gan", "steps=200", "detach=true", "no_gradient"),
    _plain("signals-divide", "signal_net", "op=divide eps=0.1", "eps=0", "non_finite"),
    _plain("autoencoder-nan", "autoencoder", "steps=200", "bad=nan", "non_finite"),
    _plain("transformer-fp16", "transformer", "loss_scale=1e-5 precision=fp16-scaled", "precision=fp16", "fp16_underflow"),
    _plain("unet-fp16", "unet", "loss_scale=0.01 precision=fp16-scaled", "precision=fp16", "fp16_underflow"),
    # --- the gradient over time
    _plain("gru-forgets", "cell_loop", "length=60 forget_bias=4", "forget_bias=-4", "vanishing_through_time", forget_bias="forget_bias=4"),
    _plain("loop-default-init", "cell_loop", "length=60 cell=rnn lr=0.001", "init=default", "vanishing_through_time"),
    _plain("loop-chaotic", "cell_loop", "task=waves_in_time length=48 cell=rnn lr=0.003 steps=200", "recurrent_gain=3", "exploding_through_time exploding_gradients saturated_units"),
)  # fmt: skip

_HEALTHY = (
    _resnet("healthy-resnet-zero-gamma", "model.depth=20 optimizer=adam optimizer.lr=0.02 model.zero_gamma=true trainer.max_steps=150"),
    _resnet("healthy-resnet-rezero", "model.depth=14 optimizer=adam optimizer.lr=0.01 norm=none model.residual=rezero trainer.max_steps=200"),
    _resnet("healthy-resnet-fixup", "model.depth=14 optimizer.lr=0.3 norm=none model.residual=fixup trainer.gradient_clip_val=1.0 trainer.max_steps=200"),
    _resnet("healthy-resnet-preactivation", "model.depth=20 model.preactivation=true label_smoothing=0.1"),
    _plain("healthy-gru-clipped", "cell_loop", "task=waves_in_time length=100 clip=1 lr=0.01"),
    _plain("healthy-transformer-postnorm", "transformer", "norm=post dropout=0.1 schedule=warmup lr=0.002"),
    _plain("healthy-transformer-letters", "transformer", "task=chain every_step=true depth=2 lr=0.003 weight_decay=0.05 optimizer=adamw"),
    _plain("healthy-autoencoder-sigmoid", "autoencoder", "head=sigmoid activation=gelu steps=300 lr=0.005"),
    _plain("healthy-signals-batchnorm", "signal_net", "depth=12 norm=batch lr=0.01"),
    _plain("healthy-signals-rezero", "signal_net", "depth=30 skip=true rezero=true width=12"),
    _plain("healthy-signals-small-batch", "signal_net", "batch=4 lr=0.001 steps=200"),
    _plain("healthy-signals-converged", "signal_net", "lr=0.005 steps=200"),
    _plain("healthy-gan", "gan", "steps=200"),
    _plain("healthy-pyramid", "pyramid", "schedule=cosine activation=silu"),
    _plain("healthy-pyramid-tiny-loss", "pyramid", "loss_scale=1e-4 depth=8"),
    _plain("healthy-unet", "unet", "norm=group lr=0.005"),
    _plain("healthy-unet-accumulation", "unet", "batch=16 accumulate=4 steps=60 lr=0.005"),
    _plain("healthy-towers", "two_towers", "dropout=0.3 width=96 lr=0.002"),
    _plain("healthy-towers-mixup", "two_towers", "mixup=true clip=2"),
    _plain("healthy-tuned-frozen", "fine_tuned", ""),
    _plain("healthy-tuned-whole", "fine_tuned", "freeze=false lr=0.001 schedule=warmup"),
)  # fmt: skip

HELD_OUT = (*_BROKEN, *_HEALTHY)
