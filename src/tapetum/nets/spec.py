"""What a tower says of itself: enough to feed it, to name its columns and to key a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tapetum.core.errors import ArtefactError

RESAMPLINGS = ("bilinear", "bicubic")
VIEWS = ("plain", "local_contrast")


@dataclass(frozen=True)
class EncoderSpec:
    """What an image encoder needs and gives.

    Attributes:
        name: short and readable, for example `"efficientnet_lite-224"`; the prefix of its blocks.
        size: side of the square input in pixels.
        mean, std: per channel, on pixels scaled to 0..1.
        dim: columns of the pooled output.
        grid: rows and columns of the token map.
        blocks: name → (first, last+1) column; together they tile `[0, dim)`.
        token_dim: columns of a token.
        token_block: the block that holds the mean of the tokens, so that its weights can be applied to each of them.
        weights_digest: SHA-256 of the weights as built; after training the caller computes it anew (`state_digest`).
        resample: `"bilinear"` or `"bicubic"`, as the weights were evaluated by their authors.
        view: `"plain"` or `"local_contrast"`, what is done to the pixels first (`learn/features/preprocess.py`).
    """

    name: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dim: int
    grid: tuple[int, int]
    blocks: Mapping[str, tuple[int, int]]
    token_dim: int
    token_block: str
    weights_digest: str
    resample: str = "bicubic"
    view: str = "plain"


@dataclass(frozen=True)
class TextSpec:
    """What a text encoder gives.

    Attributes:
        dim: columns of the output. normalised: every row has length 1.
        max_tokens: longer texts are cut there; 0 where nothing is cut.
        weights_digest: SHA-256 of weights and vocabulary.
    """

    name: str
    dim: int
    weights_digest: str
    normalised: bool = True
    max_tokens: int = 0


def state_digest(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of a module's parameters and buffers.

    Args:
        module: on any device.

    Returns:
        64 hexadecimal digits; equal weights, equal digest, whatever file they came from.
    """
    whole = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().cpu().contiguous()
        whole.update(f"{name}\0{flat.dtype}\0{tuple(flat.shape)}\n".encode())
        whole.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, read without executing anything in it.

    Args:
        path: a `.safetensors` file, a folder with `model.safetensors` or with shards and their index, or a `.pth`/`.pt`
            file that torch reads without running anything, the network at most nested in `model`, `state_dict` and the
            like.

    Raises:
        ArtefactError: no such file, or it holds more than tensors.
    """
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        return _read_shards(index) if index.is_file() else read_state(path / "model.safetensors")
    if not path.is_file():
        raise ArtefactError(f"no weights at {path}", "a .safetensors or .pth file")
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if path.suffix != ".safetensors":
        from tapetum.nets.published.pickled import load_pickled, unwrap

        return unwrap(load_pickled(path), str(path)).state
    try:
        from safetensors.torch import load_file

        return load_file(path)
    except Exception as error:
        raise ArtefactError(f"{path} cannot be read as tensors: {error}", "a whole .safetensors file") from error


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    """A state that is spread over several files, as `model.safetensors.index.json` lists them."""
    try:
        places: dict[str, str] = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{index} is damaged: {error}", '{"weight_map": {key: file}}') from None
    files = sorted(set(places.values()))
    outside = [name for name in files if Path(name).name != name]
    if outside:
        raise ArtefactError(f"{index} names {outside[0]}", "files in the same folder")
    state: dict[str, torch.Tensor] = {}
    for name in files:
        state |= read_state(index.parent / name)
    lost = sorted(set(places) - set(state))
    if lost:
        raise ArtefactError(f"{index} lists {len(lost)} tensors that no file holds, first {lost[0]}", "complete shards")
    return state
