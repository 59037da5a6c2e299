"""The trainings of the first round.

The first line of an entry is the healthy twin; the second is what breaks it and what may be said about it.
"""

from __future__ import annotations

from entry import plain, project

_MLP = "model=mlp model.width=96 norm=none init=he_normal scheduler=constant optimizer.lr=0.005"
_DEEP = f"{_MLP} model.width=128 model.depth=24 scheduler=cosine optimizer.lr=0.01 trainer.max_steps=200"
_CNN = "model=deep_cnn model.width=8 data.batch_size=32 norm=none init=he_normal scheduler=constant"
_CNN_ADAM, _CNN_NORM = f"{_CNN} optimizer=adam optimizer.lr=0.002 model.depth=14", f"{_CNN} norm=batch model.depth=14"
_LSTM = "model=lstm norm=none model.hidden_size=64 optimizer=adam optimizer.lr=0.003 scheduler=constant"
_WAVES = "task=waves_in_time length=48"

_BROKEN = (
    # --- the gradient over depth
    project("mlp-xavier", _DEEP,
            "init=xavier_normal", "vanishing_gradients bad_init_scale", "blind for norms of weight gradients"),
    project("mlp-default-init", _DEEP,
            "init=pytorch_default", "vanishing_gradients bad_init_scale"),
    project("mlp-sigmoid", f"{_DEEP} init=xavier_normal activation=tanh",
            "activation=sigmoid", "vanishing_gradients saturated_units"),
    project("mlp-small-normal", f"{_MLP} model.depth=10",
            "init=small_normal", "vanishing_gradients bad_init_scale", "N(0, 0.01²), as old recipes have it"),
    project("mlp-twice-he", _DEEP,
            "init.gain=2", "exploding_gradients bad_init_scale", "twice the variance of He"),
    project("mlp-four-times-he", f"{_MLP} model.depth=20",
            "init.gain=2.8", "exploding_gradients bad_init_scale non_finite"),
    project("mlp-deep-batchnorm", f"{_MLP} model.depth=60 norm=batch activation=selu",
            "activation=relu", "exploding_gradients", "BatchNorm and ReLU without skips: 1.21 a layer"),
    project("cnn-xavier", _CNN_ADAM,
            "init=xavier_normal init.gain=0.7", "vanishing_gradients bad_init_scale"),
    project("cnn-default-init", _CNN_ADAM,
            "init=pytorch_default", "vanishing_gradients bad_init_scale"),
    project("cnn-large-normal", _CNN_ADAM,
            "init=large_normal", "exploding_gradients bad_init_scale bad_output_head"),
    plain("tanh-default-init", "dense", "depth=30 activation=tanh init=orthogonal optimizer=sgd lr=0.01",
          "init=default", "vanishing_gradients bad_init_scale"),
    plain("tanh-chaotic", "dense", "depth=30 activation=tanh init=orthogonal optimizer=sgd lr=0.01",
          "init_gain=3", "exploding_gradients saturated_units bad_init_scale"),
    # --- the start
    project("mlp-constant", f"{_MLP} model.depth=5",
            "init=constant", "symmetric_init"),
    project("mlp-zeros", f"{_MLP} model.depth=5",
            "init=zeros", "symmetric_init vanishing_gradients no_gradient"),
    plain("dense-huge-logits", "dense", "depth=4 optimizer=sgd lr=0.01",
          "head_gain=100", "bad_output_head bad_init_scale"),
    plain("table-wide-init", "regression", "activation=tanh init=lecun",
          "init_gain=20", "saturated_units bad_init_scale"),
    # --- units
    plain("dense-born-dead", "dense", "depth=4",
          "bias=-10", "dead_units"),
    plain("dense-killed", "dense", "depth=6",
          "schedule=spike", "dead_units update_too_large diverging_loss"),
    plain("dense-saturated", "dense", "depth=5 activation=tanh init=lecun optimizer=sgd lr=0.01",
          "input_scale=100", "saturated_units bad_input_scale"),
    # --- the rate
    plain("dense-huge-rate", "dense", "depth=6",
          "lr=0.3", "update_too_large diverging_loss dead_units"),
    plain("table-diverges", "regression", "optimizer=sgd lr=0.01",
          "lr=3", "diverging_loss update_too_large non_finite dead_units"),
    project("cnn-tiny-rate", f"{_CNN_NORM} optimizer.lr=0.02",
            "optimizer.lr=1e-5", "update_too_small"),
    plain("table-tiny-rate", "regression", "",
          "lr=1e-6", "update_too_small"),
    project("cnn-clipped", f"{_CNN_NORM} optimizer.lr=0.02",
            "trainer.gradient_clip_val=0.001", "chronic_clipping update_too_small"),
    plain("dense-clipped", "dense", "depth=4 optimizer=sgd lr=0.02",
          "clip=0.0001 clip_by=value", "chronic_clipping update_too_small"),
    # --- the loss, the head, the data
    plain("dense-double-softmax", "dense", "depth=6 optimizer=sgd lr=0.01",
          "head=softmax", "bad_output_head", "softmax in the model and in the loss"),
    plain("dense-sigmoid-mse", "dense", "depth=4 optimizer=sgd lr=0.02",
          "head=sigmoid loss=mse", "bad_output_head update_too_small saturated_units"),
    plain("table-relu-head", "regression", "",
          "head=relu", "bad_output_head", "half of the targets are negative"),
    plain("table-sigmoid-head", "regression", "",
          "head=sigmoid", "bad_output_head"),
    plain("dense-wrong-sign", "dense", "depth=4",
          "loss_sign=-1", "diverging_loss loss_at_chance exploding_gradients"),
    plain("table-wrong-sign", "regression", "",
          "loss_sign=-1", "diverging_loss exploding_gradients"),
    plain("bag-shuffled", "bag", "",
          "labels=shuffled", "loss_at_chance"),
    plain("table-raw", "regression", "",
          "raw=true", "bad_input_scale", "years, incomes, shares as they were recorded"),
    plain("dense-raw-pixels", "dense", "depth=5 optimizer=sgd lr=0.01",
          "raw=true", "bad_input_scale update_too_large diverging_loss"),
    plain("table-bad-batches", "regression", "",
          "bad=inputs", "unstable_gradients", "every twentieth batch is garbage of 1000 times the size"),
    plain("dense-small-batchnorm", "dense", "depth=6 norm=layer batch=2 lr=0.0005 steps=200",
          "norm=batch", "small_batch_norm unstable_gradients"),
    # --- the graph, the numbers
    plain("dense-detached", "dense", "depth=6",
          "detach=true", "no_gradient"),
    plain("bag-forgotten", "bag", "",
          "trains=head", "no_gradient", "all but the head is missing from the optimizer"),
    plain("dense-log", "dense", "depth=6 op=log eps=0.001",
          "eps=0", "non_finite"),
    plain("table-divide", "regression", "op=divide eps=0.1",
          "eps=0", "non_finite"),
    plain("table-nan", "regression", "",
          "bad=nan", "non_finite", "one number in each twentieth batch"),
    plain("dense-fp16", "dense", "depth=8 loss_scale=1e-5 precision=fp16-scaled",
          "precision=fp16", "fp16_underflow", "autocast without a loss scale"),
    # --- the gradient over time
    plain("rnn-forgets", "recurrent", "cell=irnn length=100 clip=1 lr=0.001",
          "cell=rnn", "vanishing_through_time"),
    plain("rnn-default-init", "recurrent", "cell=rnn init=orthogonal length=60 lr=0.001",
          "init=default", "vanishing_through_time"),
    plain("irnn-explodes", "recurrent", f"{_WAVES} cell=irnn lr=0.001 steps=150",
          "recurrent_gain=1.4", "exploding_through_time exploding_gradients"),
    plain("rnn-chaotic", "recurrent", f"{_WAVES} cell=rnn init=orthogonal lr=0.003 steps=200",
          "recurrent_gain=3", "exploding_through_time exploding_gradients saturated_units"),
    plain("lstm-forgets", "recurrent", "cell=lstm length=40 forget_bias=4 lr=0.01",
          "forget_bias=-5", "vanishing_through_time"),
    project("lstm-rows-forget", _LSTM,
            "model.forget_bias=-5", "vanishing_through_time"),
)  # fmt: skip

_HEALTHY = (
    project("healthy-mlp-selu", f"{_MLP} model.depth=20 init=lecun_normal activation=selu"),
    project("healthy-mlp-tanh", f"{_MLP} model.depth=30 init=orthogonal activation=tanh", note="critical at depth 30"),
    project("healthy-mlp-gelu", f"{_MLP} model.depth=8 activation=gelu"),
    project("healthy-mlp-smoothing", f"{_MLP} optimizer=adamw model.depth=6 label_smoothing=0.1 "
            "optimizer.weight_decay=0.1 scheduler=cosine", note="weight decay, rate to 0"),
    project("healthy-mlp-accumulation", f"{_MLP} model.depth=5 trainer.accumulate_grad_batches=8 data.batch_size=16 "
            "optimizer.lr=0.02"),
    project("healthy-cnn-batchnorm", "model=deep_cnn model.width=4 model.depth=20 data.batch_size=32 optimizer.lr=0.1",
             note="BatchNorm without skips at a depth that trains"),
    project("healthy-cnn-groupnorm", f"{_CNN} norm=group norm.groups=4 model.depth=6 data.batch_size=4 "
            "optimizer.lr=0.01 trainer.max_steps=300", note="batches of 4"),
    project("healthy-cnn-agc", f"{_CNN} parametrization=scaled_weight_standardization clip=agc model.depth=10 "
            "optimizer.lr=0.05", note="normalizer-free, clipped unit by unit"),
    project("healthy-lstm-rows", f"{_LSTM} norm=batch trainer.gradient_clip_val=1.0"),
    plain("healthy-dense-sparse", "dense", "depth=4 bias=-0.6", note="most ReLUs silent, none dead"),
    plain("healthy-dense-tiny-loss", "dense", "depth=6 loss_scale=1e-4", note="Adam does not see it"),
    plain("healthy-dense-huge-loss", "dense", "depth=6 loss_scale=1e4", note="Adam does not see it"),
    plain("healthy-dense-fp16", "dense", "depth=6 precision=fp16-scaled loss_exponent=22",
           note="the scaler skips the first steps"),
    plain("healthy-dense-warmup", "dense", "depth=8 optimizer=sgd lr=0.02 schedule=warmup", note="rate from 0"),
    plain("healthy-dense-dropout", "dense", "depth=3 width=128 dropout=0.5 lr=0.002"),
    plain("healthy-dense-mixup", "dense", "depth=4 mixup=true"),
    plain("healthy-dense-skips", "dense", "depth=30 skip=true branch_gain=0.1"),
    plain("healthy-bag", "bag", "optimizer=rmsprop", note="most rows of the table unused in a batch"),
    plain("healthy-table-noisy", "regression", "batch=4 lr=0.001 steps=200", note="more noise than gradient"),
    plain("healthy-table-clip", "regression", "clip=4", note="clips now and then"),
    plain("healthy-table-cosine", "regression", "activation=silu schedule=cosine"),
    plain("healthy-irnn-converged", "recurrent", "cell=irnn length=20 lr=0.002 steps=150", note="loss near 0"),
    plain("healthy-lstm-letters", "recurrent", "task=chain every_step=true length=30 lr=0.01 clip=0.1",
           note="a loss at each step, clipped at each step"),
)  # fmt: skip

CASES = (*_BROKEN, *_HEALTHY)
