"""The kinds of the fifth round: what they are made of, and how their users follow advice."""

from __future__ import annotations

from kind import Kind, start

from round_5 import networks as nets

KINDS = {
    "field_operator": Kind(
        nets.field_operator,
        "task=shocks length=64 depth=4 width=16 lr=0.003 init=lecun activation=gelu branch_gain=0.7 batch=32 steps=150",
        {
            "init": start("lecun") + " branch_gain=0.7",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=gelu",
        },
    ),
    "settling": Kind(
        nets.settling,
        "task=floods depth=10 width=16 lr=0.003 activation=tanh init=orthogonal batch=32 steps=200",
        {
            "init": start("orthogonal") + " recurrent_gain=0.7",
            "norm": "norm=group",
            "skip": "skip=true branch_gain=0.2",
            "activation": "activation=leaky_relu",
        },
    ),
    "splines": Kind(
        nets.splines,
        "task=yields depth=3 width=24 lr=0.005 init=lecun activation=silu norm=layer skip=true steps=250",
        {
            "init": start("lecun") + " branch_gain=1",
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=silu",
        },
    ),
    "columns": Kind(
        nets.columns,
        "task=grades depth=2 width=32 lr=0.002 norm=pre activation=gelu init=xavier steps=200",
        {
            "init": start("xavier") + " branch_gain=1",
            "norm": "norm=pre",
            "activation": "activation=gelu",
        },
    ),
    "bodies": Kind(
        nets.bodies,
        "task=charges length=5 depth=2 width=32 lr=0.005 branch_gain=0.5 eps=0.1 batch=32 activation=silu norm=layer "
        "skip=true steps=200",
        {
            "init": start("he") + " branch_gain=0.5",
            "norm": "norm=layer",
            "connect": "detach=false trains=all branch_gain=0.5",
            "skip": "skip=true",
            "activation": "activation=silu",
        },
    ),
    "law": Kind(
        nets.law,
        "task=membrane depth=4 width=32 lr=0.003 activation=tanh init=xavier steps=250",
        {
            "init": start("xavier"),
            "norm": "norm=layer",
            "skip": "skip=true",
            "activation": "activation=silu",
        },
    ),
}
