"""Tensors out of a `.pt`, `.pth`, `.bin` or `.ckpt` file, without running what a pickle could run."""

from __future__ import annotations

import argparse
import collections
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapetum.core.errors import ArtefactError

# Where training programs keep the network beside the optimizer and their settings; the first that is there is taken.
WRAPPERS = ("model", "state_dict", "model_state_dict", "teacher", "model_ema", "ema", "network", "net", "student")
_PREFIXES = ("module.", "_orig_mod.")  # of data-parallel and of compiled networks
_DEPTH = 8
_ODD = (torch.complex32, torch.float8_e4m3fn, torch.float8_e5m2)  # numpy has none of them
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Unwrapped:
    """A state found inside what a checkpoint holds.

    Attributes:
        state: key → tensor. inside: the keys under which it stood, outermost first.
        prefix: what was taken off every key. left_out: what stood beside it and is not taken.
    """

    state: dict[str, Tensor]
    inside: tuple[str, ...]
    prefix: str
    left_out: tuple[str, ...]


def unwrap(loaded: object, where: str, key: str = "") -> Unwrapped:
    """The state of a network inside nested dictionaries.

    Args:
        loaded: what the file held.
        where: the file, for messages.
        key: which of the nested dictionaries to take, dotted; `""` takes the first of the usual names.

    Returns:
        The tensors, without the prefixes of data-parallel and compiled networks.

    Raises:
        ArtefactError: no dictionary of tensors there.

    Example:
        >>> found = unwrap({"epoch": 3, "model": {"module.w": torch.zeros(1)}}, "x.pth")
        >>> list(found.state), found.inside, found.prefix, found.left_out
        (['w'], ('model',), 'module.', ('epoch',))
    """
    inside: list[str] = []
    left_out: list[str] = []
    asked = key.split(".") if key else []
    while len(inside) < _DEPTH:
        if not isinstance(loaded, Mapping):
            raise ArtefactError(f"{where} holds a {type(loaded).__name__}", "a dictionary of tensors")
        held: dict[str, Any] = {str(k): v for k, v in loaded.items()}
        found = asked.pop(0) if asked else "" if key else _wrapper(held)
        if not found:
            break
        if found not in held:
            raise ArtefactError(f"{where} has no {found!r} in it; it has {', '.join(sorted(held)[:12])}", "one of them")
        inside.append(found)
        left_out += [".".join((*inside[:-1], k)) for k in held if k != found]
        loaded = held[found]
    else:
        raise ArtefactError(f"{where} is nested more than {_DEPTH} deep", "a dictionary of tensors")
    state = {k: v.detach() for k, v in held.items() if isinstance(v, Tensor)}
    left_out += [".".join((*inside, k)) for k in held if k not in state]
    if not state:
        raise ArtefactError(
            f"{where} holds no tensors; it has {', '.join(sorted(held)[:12])}", "a dictionary of tensors"
        )
    prefix = ""
    while found := next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), ""):
        prefix += found
        state = {k.removeprefix(found): v for k, v in state.items()}
    return Unwrapped(state, tuple(inside), prefix, tuple(left_out))


def _wrapper(held: Mapping[str, Any]) -> str:
    if sum(isinstance(v, Tensor) for v in held.values()) > len(held) / 2:
        return ""
    return next((name for name in WRAPPERS if isinstance(held.get(name), Mapping)), "")


def load_pickled(path: Path) -> Any:
    """What a file of `torch.save` holds: tensors, plain values, and a few harmless objects.

    Args:
        path: the file; nothing in it is run, because torch unpickles only what is on a list.

    Raises:
        ArtefactError: the file wants a class or function that is not on the list (it is named), or is damaged.
    """
    harmless: list[Any] = [
        argparse.Namespace,
        np.dtype,
        *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
        *((np._core.multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    ]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        wanted = _GLOBAL.search(str(error))
        if wanted:
            raise ArtefactError(
                f"{path.name} cannot be read as tensors: it wants {wanted.group(1)}, which could run code; nothing ran",
                "tensors, plain values, argparse.Namespace and numpy numbers",
                "ask whoever made the file for one with tensors only, best as .safetensors",
            ) from None
        # torch's own text advises to switch the protection off; only what it met is passed on.
        met = str(error).partition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise ArtefactError(
            f"{path.name} cannot be read as tensors" + (f" ({met[:120]})" if met else ""),
            "a whole file that torch.save wrote",
        ) from None


def read_pickled(path: str, key: str) -> dict[str, Any]:
    """What a child of the sandbox answers: arrays, and what was found around them.

    Args:
        path: the file.
        key: see `unwrap`.

    Returns:
        `tensors` (name → flat array; without the empty ones), `shapes` and `types` of all, `bfloat16` (names of those
        that are given as 16-bit integers, since numpy has no such type), `shared` (names of those that share their
        memory with another), `inside`, `prefix` and `left_out` as in `Unwrapped`.

    Raises:
        ArtefactError: see `load_pickled` and `unwrap`.
    """
    found = unwrap(load_pickled(Path(path)), Path(path).name, key)
    short = sorted(k for k, v in found.state.items() if v.dtype == torch.bfloat16)
    odd = sorted(k for k, v in found.state.items() if v.is_sparse or v.is_quantized or v.dtype in _ODD)
    if odd:
        raise ArtefactError(f"{Path(path).name} holds sparse or quantised tensors, first {odd[0]}", "dense tensors")
    storages = collections.Counter(v.untyped_storage().data_ptr() for v in found.state.values() if v.numel())
    shared = [k for k, v in found.state.items() if v.numel() and storages[v.untyped_storage().data_ptr()] > 1]
    arrays = {k: (v.view(torch.int16) if k in set(short) else v).contiguous().numpy() for k, v in found.state.items()}
    # The wire knows no arrays without axes or without elements: flat ones travel, with their shapes and types beside.
    return {
        "tensors": {k: a.reshape(-1) for k, a in arrays.items() if a.size},
        "shapes": {k: list(a.shape) for k, a in arrays.items()},
        "types": {k: a.dtype.str for k, a in arrays.items()},
        "bfloat16": short, "inside": list(found.inside), "prefix": found.prefix,
        "left_out": list(found.left_out), "shared": shared,
    }  # fmt: skip
