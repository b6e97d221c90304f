"""From a pickled checkpoint of somebody else's to a folder with safetensors; read in a child that can do nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tapetum.archive.sandbox import Limits, Sandbox
from tapetum.core.errors import ArtefactError, DataError, UsageError

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
WEIGHTS = "model.safetensors"
RECORD = "conversion.json"
# Small files that say how the weights are to be used; copied where they lie beside the source.
BESIDE = (
    "config.json", "open_clip_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip
_MIB = 2**20
# torch reads the file into memory, tensors that share storage are written out apart, and the answer is copied once.
_TIMES, _SPARE = 4, 1024 * _MIB
_BYTES_PER_SECOND = 10 * _MIB


@dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Attributes:
        source: the file's name. sha256: of the file. folder: where the result lies.
        tensors: how many. parameters: numbers in them together. megabytes: of the result.
        inside: keys under which the network stood, outermost first. prefix: what was taken off every key.
        left_out: what stood beside the network. cloned: tensors that shared their memory with another.
        copied: small files taken along from beside the source.
    """

    source: str
    sha256: str
    folder: Path
    tensors: int
    parameters: int
    megabytes: float
    inside: tuple[str, ...]
    prefix: str
    left_out: tuple[str, ...]
    cloned: tuple[str, ...]
    copied: tuple[str, ...]

    def __str__(self) -> str:
        """Some lines for a terminal."""
        lines = [
            f"{self.tensors} tensors, {self.parameters:,} numbers, {self.megabytes:.1f} MB → {self.folder / WEIGHTS}"
        ]
        if self.inside:
            lines.append(f"  taken from {'.'.join(self.inside)}")
        if self.prefix:
            lines.append(f"  {self.prefix!r} taken off every key")
        for what, names in (
            ("left out", self.left_out),
            ("shared memory, now apart", self.cloned),
            ("copied", self.copied),
        ):
            if names:
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                lines.append(f"  {what}: {', '.join(names[:8])}{more}")
        return "\n".join(lines)


def convert(source: Path | str, out: Path | str, *, key: str = "", beside: bool = True) -> Converted:
    """Turn a `.pt`, `.pth`, `.bin` or `.ckpt` file into a folder with `model.safetensors`, keys as published.

    The file is opened in a child process without network, files or other programs, and there by torch's own reader,
    which unpickles tensors and plain values only. A file that wants more is refused; nothing of it is run.

    Args:
        source: the checkpoint.
        out: the folder to make; may exist, but not with weights in it.
        key: which nested dictionary holds the network, dotted; `""` finds it (`model`, `state_dict`, `teacher`, …).
        beside: take along the small configuration and tokenizer files that lie beside the source.

    Returns:
        What was done; the same stands in `conversion.json`.

    Raises:
        UsageError: another kind of file, or weights in `out` already.
        ArtefactError: no such file, one that wants a class or function that is not harmless, or one without tensors.
        DataError: the child ran out of memory or time.
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise ArtefactError(f"no file {source}", "a checkpoint: " + ", ".join(SUFFIXES))
    if source.suffix not in SUFFIXES:
        raise UsageError(f"{source.name} is none of {', '.join(SUFFIXES)}", "a pickled checkpoint", "")
    if (out / WEIGHTS).exists():
        raise UsageError(f"{out / WEIGHTS} is there already", "a new folder", "name another folder")
    read = _read_apart(source, key)
    state, cloned = _tensors(read)
    out.mkdir(parents=True, exist_ok=True)
    _write(state, out / WEIGHTS)
    copied = [name for name in BESIDE if beside and (source.parent / name).is_file() and not (out / name).exists()]
    for name in copied:
        shutil.copyfile(source.parent / name, out / name)
    done = Converted(
        source=source.name, sha256=_digest(source), folder=out, tensors=len(state),
        parameters=sum(t.numel() for t in state.values()), megabytes=(out / WEIGHTS).stat().st_size / 1e6,
        inside=tuple(read["inside"]), prefix=str(read["prefix"]), left_out=tuple(read["left_out"]), cloned=cloned,
        copied=tuple(copied),
    )  # fmt: skip
    record = asdict(done) | {"folder": out.name}
    (out / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return done


def limits_for(size: int) -> Limits:
    """What a child may take to read a checkpoint of so many bytes.

    Args:
        size: of the file in bytes.

    Example:
        >>> limits_for(1_200_000_000).memory_bytes > 4_000_000_000
        True
    """
    seconds = 120.0 + size / _BYTES_PER_SECOND
    return Limits(
        memory_bytes=_TIMES * size + _SPARE,
        cpu_seconds=seconds,
        wall_seconds=2 * seconds,
        answer_bytes=2 * size + _SPARE,
    )


def _read_apart(source: Path, key: str) -> dict[str, Any]:
    with Sandbox(workers=1, limits=limits_for(source.stat().st_size)) as sandbox:
        try:
            return sandbox.call("tapetum.nets.published.pickled:read_pickled", str(source.resolve()), key)
        except DataError as error:
            raise DataError(f"{source.name}: {error.found}", error.expected, error.next_step) from None


def _tensors(read: dict[str, Any]) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Tensors around the arrays that came back, and the names of those that had shared their memory."""
    short = set(read["bfloat16"])
    state: dict[str, torch.Tensor] = {}
    for name, shape in read["shapes"].items():
        flat = read["tensors"].get(name, np.empty(0, dtype=read["types"][name]))
        tensor = torch.from_numpy(flat).reshape(shape)
        state[name] = tensor.view(torch.bfloat16) if name in short else tensor
    return state, tuple(read["shared"])


def _write(state: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    # Under another name until it is whole: a file that is there is complete.
    half = path.with_name(path.name + ".part")
    try:
        save_file(state, half, {"format": "pt"})
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
