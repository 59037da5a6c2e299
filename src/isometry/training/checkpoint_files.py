"""Files that are whole or not there, load with `weights_only=True`, and describe themselves.

Lightning stages its file in $TMPDIR, moves it (across file systems a copy, which a kill tears) and never fsyncs; torch
does not verify the checksum it stores. So: write to a temporary file in the same folder, fsync, read back and hash,
rename, fsync the folder; last the manifest `<name>.json` with the SHA-256, which is the commit mark (Pillai et al.,
OSDI 2014): a run's folder is continued only from files that have one. A lone file is checked by the digest inside.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from ..errors import CheckpointError, ResourceError

BEST, LATEST = "best", "latest"
# What a training is: two of them that agree in these are the same.
_STATE = ("state_dict", "optimizer_states", "lr_schedulers", "MixedPrecision", "clip", "gradient_monitor", "callbacks")


class DurableCheckpointIO(CheckpointIO):
    """Lightning's plug for how a checkpoint reaches the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises `ResourceError` when the disk refuses; whatever was there before stays."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            torch.save(checkpoint, buffer)
            sha256 = _write(target, buffer.getbuffer())
            manifest = {
                "sha256": sha256,
                "size": target.stat().st_size,
                "step": checkpoint.get("global_step"),
                "epoch": checkpoint.get("epoch"),
                "digest": checkpoint.get("isometry", {}).get("digest"),
                "state_digest": digest({key: checkpoint[key] for key in _STATE if key in checkpoint}),
                "best": checkpoint.get("resume", {}).get("best"),
            }
            _write(manifest_of(target), json.dumps(manifest, indent=1).encode())
        except OSError as error:
            raise ResourceError(f"error: cannot write {target}: {error.strerror or error}") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Always `weights_only`: a checkpoint cannot run code."""
        return read_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: Any) -> None:
        manifest_of(Path(path)).unlink(missing_ok=True)  # first: what is half removed must not look whole
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, map_location: Any = None) -> dict[str, Any]:
    """The verified content of a checkpoint file; its manifest is checked where it lies beside it.

    Raises:
        CheckpointError: Missing, damaged, not plain weights and primitives, or not written by isometry.
    """
    if not path.is_file():
        raise CheckpointError(f"error: there is no checkpoint {path}")
    if manifest_of(path).is_file():
        _check_manifest(path)
    try:
        content = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except Exception as error:  # of bytes that are no checkpoint, an unpickler can make anything
        reason = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
        raise CheckpointError(f"error: {path} was refused: it is not plain weights ({reason})") from None
    if not isinstance(content, dict) or "digest" not in content.get("isometry", {}):
        raise CheckpointError(f"error: {path} was not written by isometry: it does not describe its network")
    if digest(content["state_dict"]) != content["isometry"]["digest"]:
        raise CheckpointError(f"error: {path} is damaged: its weights are not those that were saved")
    return content


def _check_manifest(path: Path) -> None:
    expected = str(read_manifest(path).get("sha256"))
    found = _sha256(path)
    if found != expected:
        raise CheckpointError(f"error: {path} is damaged: sha256 {found[:12]}…, its manifest says {expected[:12]}…")


def manifest_of(path: Path) -> Path:
    """`best-….ckpt` has `best-….ckpt.json` beside it."""
    return path.with_name(path.name + ".json")


def read_manifest(path: Path) -> dict[str, Any]:
    """What the manifest beside a checkpoint says.

    Raises:
        CheckpointError: It is damaged.
    """
    manifest = manifest_of(path)
    try:
        content = json.loads(manifest.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("sha256"), str):
        raise CheckpointError(f"error: {manifest} is damaged")
    return content


def find_checkpoint(place: str | Path, kind: str) -> Path:
    """The checkpoint file that `place` means: a file itself, or the best or latest one of a run's folder.

    The best one is that which the newest latest one names: what came after it, a continued run will do again.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return path
    found = committed(path, kind)
    if not found:
        what = "is neither a file nor a run's folder" if not path.is_dir() else f"has no finished {kind} checkpoint"
        raise CheckpointError(f"error: {place} {what}\n  fix:   give a .ckpt file, or a folder with checkpoints/ in it")
    named = None
    for newest in reversed(committed(path, LATEST)):
        with suppress(CheckpointError):  # its manifest is damaged: the one before names it
            named = read_manifest(newest).get("best")
    return next((file for file in found if kind == BEST and file.name == named), found[0])


def committed(folder: Path, kind: str) -> list[Path]:
    """A run's checkpoints that have a manifest, newest first; whether they are whole is not looked at."""
    found = sorted((folder / "checkpoints").glob(f"{kind}-*.ckpt"), reverse=True)
    return [path for path in found if manifest_of(path).is_file()]


def newest_whole(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest of a run's latest checkpoints that is whole, its content, and why newer ones were passed over.

    Raises:
        CheckpointError: None is, though there are some; nothing is deleted.
    """
    refused: list[str] = []
    for path in committed(folder, LATEST):
        try:
            return path, read_checkpoint(path), refused
        except CheckpointError as error:
            refused.append(str(error).removeprefix("error: "))
    raise CheckpointError(
        "\n  ".join([f"error: {folder} has no whole checkpoint to go on from", *refused])
        + "\n  fix:   start again under another run_name; everything is left as it is"
    )


def digest(state: Any) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of nested containers of tensors and primitives."""
    sha256 = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            flat = value.detach().cpu().contiguous()
            sha256.update(f"{flat.dtype}{list(flat.shape)}".encode())
            sha256.update(flat.flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, Mapping):
            for key, item in value.items():
                sha256.update(f"{key!r}:".encode())
                add(item)
        elif isinstance(value, list | tuple):
            sha256.update(f"[{len(value)}]".encode())
            for item in value:
                add(item)
        else:
            sha256.update(repr(value).encode())

    add(state)
    return sha256.hexdigest()


def fingerprint() -> dict[str, str | int]:
    """What has to be equal for the same command to give the same bits."""
    from importlib.metadata import version

    return {
        **{name: version(name) for name in ("isometry", "torch", "pytorch-lightning")},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _write(target: Path, content: bytes | memoryview) -> str:
    """Write `target` durably and all at once; the SHA-256 of what was meant and of what arrived."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    meant = hashlib.sha256(content).hexdigest()
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if _sha256(temporary) != meant:
            raise OSError(errno.EIO, "the disk did not keep what was written")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return meant


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
