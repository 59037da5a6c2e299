"""Every switch with every other: what goes together builds and steps, what does not is refused in words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from covering import all_pairs, covering_rows

from isometry import build
from isometry.catalog import GROUPS, SWITCHES
from isometry.clashes import CLASHES
from isometry.config import Config
from isometry.errors import ConfigError
from isometry.overrides import read
from isometry.strategies import clash_table, page
from isometry.validation import validate

SIZES = {
    "deep_cnn": {"depth": 4, "width": 8},
    "resnet": {"depth": 8, "width": 8},
    "lstm": {"hidden_size": 8},
    "mlp": {"depth": 3, "width": 8},
}
OPTIONS = {  # of the models, beyond their sizes
    "deep_cnn": {},
    "resnet": {
        "model.shortcut": ["identity", "projection", "none"],
        "model.preactivation": [False, True],
        "model.zero_gamma": [False, True],
        "model.residual": ["standard", "rezero", "fixup"],
    },
    "lstm": {
        "model.cell": ["lstm", "gru", "rnn", "irnn"],
        "model.layers": [1, 2],
        "model.sequence": ["rows", "pixels", "permuted_pixels"],
        "model.forget_bias": [None, 2.0],
        "model.chrono": [False, True],
        "model.cell_norm": ["none", "layer"],
    },
    "mlp": {},
}


def factors(model: str) -> dict[str, list[Any]]:
    """Every key with the values that are tried with each other."""
    return {
        **{family: list(names) for family, names in SWITCHES.items()},
        **OPTIONS[model],
        "trainer.gradient_clip_val": [None, 1.0],
        "trainer.precision": ["32-true", "bf16-mixed"],
        "optimizer": list(GROUPS["optimizer"]),
        "label_smoothing": [0.0, 0.1],
    }


@cache
def composed(model: str, optimizer: str) -> dict[str, Any]:
    words = [f"model.{key}={value}" for key, value in SIZES[model].items()]
    return read([f"model={model}", f"optimizer={optimizer}", *words]).model_dump()


def raw(model: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The plain configuration of a row."""
    made = {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in composed(model, row.get("optimizer", "sgd")).items()
    }
    for key, value in row.items():
        section, _, name = key.partition(".")
        if key in SWITCHES:
            made[key] = value
        elif name:
            made[section][name] = value
        elif key != "optimizer":
            made[key] = value
    return made


def go_not_together(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    """The refusals, written down a second time: what the catalog says must be this."""
    row = dict((one, other))
    residual, gamma = row.get("model.residual", "standard"), row.get("model.zero_gamma", False)
    shortcut, norm = row.get("model.shortcut", "identity"), row.get("norm", ...)
    scheme, cell = row.get("parametrization", "none"), row.get("model.cell", "lstm")
    return any(
        [
            residual != "standard" and (shortcut == "none" or gamma),
            residual == "fixup" and norm not in (..., "none"),
            residual == "fixup" and row.get("model.preactivation", False),
            residual == "fixup" and scheme != "none",
            residual == "fixup" and row.get("init") == "lsuv",
            gamma and (shortcut == "none" or norm == "none" or row.get("model.preactivation", False)),
            row.get("init") == "lsuv" and scheme.endswith("standardization"),
            scheme == "weight_standardization" and norm == "none",
            row.get("clip") == "agc" and (residual != "standard" or gamma),
            row.get("init") in ("lsuv", "zeros") and scheme == "spectral_norm",
            row.get("init") in ("zeros", "dirac") and scheme == "weight_norm",
            row.get("model.forget_bias") is not None and (cell != "lstm" or row.get("model.chrono", False)),
            row.get("model.chrono", False) and cell in ("rnn", "irnn"),
            row.get("clip", "none") != "none" and row.get("trainer.gradient_clip_val") is not None,
        ]
    )


# ------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize("model", list(OPTIONS))
def test_exactly_the_pairs_of_the_table_are_refused(model: str) -> None:
    """All pairs of values of all keys, without building anything."""
    tried = factors(model)
    for left, right in itertools.combinations(tried, 2):
        for one, other in itertools.product(tried[left], tried[right]):
            row = {left: one, right: other}
            # what is not in the row is chosen so that nothing else clashes
            if row.get("model.residual") == "fixup":
                row = {"norm": "none", **row}
            expected = any(go_not_together(*two) for two in itertools.combinations(row.items(), 2))
            assert ("do not go together" in _problems(raw(model, row))) == expected, row


def _problems(configuration: dict[str, Any]) -> str:
    try:
        validate(configuration)
    except ConfigError as error:
        return str(error)
    return ""


def test_a_refusal_names_both_choices_where_they_were_set_and_a_fix() -> None:
    with pytest.raises(ConfigError) as error:
        read(["model=resnet", "model.residual=fixup"])
    assert str(error.value) == (
        "error: model.residual=fixup and norm=batch do not go together: Fixup takes the place of a norm\n"
        "  where: command line\n"
        "  fix:   norm=none"
    )


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: f"{clash.one} {clash.other}")
def test_each_fix_of_the_table_is_one(clash: Any) -> None:
    """The configuration of a clash with the words of a fix on top is fine."""

    def word(choice: Any) -> str:
        values = choice.values
        if choice.otherwise:
            values = (
                {
                    "norm": "batch",
                    "parametrization": "weight_norm",
                    "model.forget_bias": "2.0",
                    "model.cell": "gru",
                    "clip": "agc",
                    "trainer.gradient_clip_val": "1.0",
                }[choice.key],
            )
        return f"{choice.key}={values[0]}".replace("True", "true")

    model = "lstm" if clash.one.key.split(".")[-1] in ("forget_bias", "chrono") else "resnet"
    words = [f"model={model}", word(clash.one), word(clash.other)]
    if "fixup" in clash.one.values and clash.other.key != "norm":
        words.insert(1, "norm=none")
    with pytest.raises(ConfigError, match="do not go together"):
        read(words)
    for fix in clash.fixes:
        changed = {w.partition("=")[0] for w in fix.split()}
        read([*(w for w in words if w.partition("=")[0] not in changed), *fix.split()])


def test_the_page_names_every_strategy_and_every_refusal() -> None:
    text = page()
    for names in {**SWITCHES, **GROUPS}.values():
        assert all(name in text for name in names)
    assert all(clash.reason in text and clash.reason in clash_table() for clash in CLASHES)


# --------------------------------------------------------------------------------------- what goes together
def test_the_covering_array_covers_every_pair() -> None:
    tried = factors("resnet")
    rows = covering_rows(tried, go_not_together)
    seen = {frozenset(two) for row in rows for two in itertools.combinations(row.items(), 2)}
    assert all_pairs(tried, go_not_together) <= seen
    assert not any(go_not_together(*two) for row in rows for two in itertools.combinations(row.items(), 2))
    assert len(rows) < 400  # of 81 million


@pytest.mark.parametrize("model", list(OPTIONS))
def test_every_pair_of_choices_builds_and_steps(model: str) -> None:
    images, labels = torch.randn(6, 1, 8, 8), torch.arange(6) % 4
    for row in covering_rows(factors(model), go_not_together):
        config = validate(raw(model, row))
        before, after, loss = _step(config, images, labels)
        assert loss.isfinite(), row
        assert all(values.isfinite().all() for values in after), row
        assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True)), row


def _step(
    config: Config, images: torch.Tensor, labels: torch.Tensor
) -> tuple[list[torch.Tensor], Sequence[torch.Tensor], torch.Tensor]:
    """Build, initialise, one step; parameters before and after, and the loss."""
    net = build.network(config, images.shape[1:], 4)
    build.initialize(net, config.init, activation=config.activation, inputs=images)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer = build.group("optimizer", config.optimizer)(net.named_parameters())
    with torch.autocast("cpu", torch.bfloat16, enabled=config.trainer.precision == "bf16-mixed"):
        logits = net(images).float()
    loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    loss.backward()
    clip = build.switch("clip", config.clip)
    if clip is not None:
        clip(net.named_parameters())
    if config.trainer.gradient_clip_val:
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.trainer.gradient_clip_val)
    optimizer.step()
    return before, list(net.parameters()), loss
