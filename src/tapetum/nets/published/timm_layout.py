"""Checkpoints of timm: what their names and the `config.json` beside them say, and which tower reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError
from tapetum.nets.local import read_json
from tapetum.nets.published import towers
from tapetum.nets.published.foreign import Pixels, three_numbers
from tapetum.nets.published.keys import shortened
from tapetum.nets.spec import RESAMPLINGS

LIBRARY = "with the package timm installed: library=True"
# Names are compared whole: a suffix such as _hnf or _mlp computes something else with the same or almost the same keys.
_KNOWN = {
    "vit": r"(vit|deit|deit3)_(?!.*(quickgelu|distilled))\w+",
    "resnet": r"(tv_)?resnet\d+",
    "convnext": r"convnext(v2)?_(atto|femto|pico|nano|tiny|small|base|large|xlarge|huge)",
    "swinv2": r"swinv2_(tiny|small|base|large)_window\d+(to\d+)?_\d+(to\d+)?",
}
_SIGNS = {
    "vit": "blocks.0.attn.qkv.weight",
    "resnet": "layer1.0.conv1.weight",
    "convnext": "stages.0.blocks.0.conv_dw.weight",
    "swinv2": "layers.0.blocks.0.attn.cpb_mlp.0.weight",
}
_READ = "ViT and DeiT with a class token, ResNet, ConvNeXt, ConvNeXt V2, Swin V2"


@dataclass(frozen=True)
class Card:
    """What `config.json` of timm's hub layout says, completed by what the caller says.

    Attributes:
        model: name of the architecture without its tag, for example `"vit_base_patch16_224"`.
        pixels: how an image is prepared.
    """

    model: str
    pixels: Pixels


def read_card(
    folder: Path, model: str, size: int, mean: tuple[float, ...], std: tuple[float, ...], resample: str
) -> Card:
    """Name and preprocessing of a checkpoint; nothing is guessed.

    Args:
        folder: where `config.json` may lie.
        model: the caller's name; `""` takes that of `config.json`.
        size: the caller's; 0 takes that of `config.json`.
        mean: the caller's; () takes that of `config.json`.
        std: as `mean`.
        resample: the caller's; `""` takes that of `config.json`.

    Raises:
        ArtefactError: something is said by neither. UsageError: the two names differ, or a value makes no sense.
    """
    path = folder / "config.json"
    raw: dict[str, Any] = read_json(path) if path.is_file() else {}
    inside = raw.get("pretrained_cfg")
    told: dict[str, Any] = {**raw, **(inside if isinstance(inside, dict) else {})}
    name = str(told.get("architecture") or raw.get("architecture") or "").partition(".")[0]
    asked = model.partition(".")[0]
    if asked and name and asked != name:
        raise UsageError(f"model={model!r}, but {path} says {name!r}", "the same name, or none", f"model={name!r}")
    side = size or _side(told.get("input_size"))
    found: dict[str, Any] = {
        "model": asked or name,
        "size": side,
        "mean": tuple(mean) or three_numbers(told.get("mean")),
        "std": tuple(std) or three_numbers(told.get("std")),
        "resample": resample or str(told.get("interpolation") or ""),
    }
    lost = [key for key, value in found.items() if not value]
    if lost:
        raise ArtefactError(
            f"{folder} does not say {', '.join(lost)}" + ("" if raw else "; there is no config.json in it"),
            "what the weights were trained with, in config.json of timm's hub layout or as options",
            "copy config.json from where the weights came from, or say "
            + ", ".join(
                {"model": "model='vit_base_patch16_224'", "resample": "resample='bicubic'"}.get(k, f"{k}=…")
                for k in lost
            ),
        )
    if len(found["mean"]) != 3 or len(found["std"]) != 3 or found["resample"] not in RESAMPLINGS or side < 1:
        raise UsageError(
            f"size={side}, mean={found['mean']}, std={found['std']}, resample={found['resample']!r}",
            f"a positive size, three values each, {' or '.join(RESAMPLINGS)}",
        )
    means, stds = (tuple(map(float, found[key])) for key in ("mean", "std"))
    return Card(found["model"], Pixels(side, means, stds, found["resample"]))


def _side(shape: Any) -> int:
    """The side of timm's `input_size`, channels first; 0 where it is none."""
    if isinstance(shape, list) and len(shape) == 3 and shape[1] == shape[2] and isinstance(shape[1], int):
        return shape[1]
    return 0


def tower_of(state: Mapping[str, Tensor], where: str, card: Card, heads: int) -> nn.Module:
    """The tower that reads a checkpoint in timm's layout.

    Args:
        state: published key → tensor.
        where: the file, for messages.
        card: its name and size.
        heads: attention heads of a vision transformer; 0 = those of the published ones of that width.

    Raises:
        UsageError: an architecture that is not read here. ArtefactError: keys or shapes do not fit.
    """
    kind = next((k for k, sign in _SIGNS.items() if sign in state), "")
    if not kind or not re.fullmatch(_KNOWN[kind], card.model):
        raise UsageError(
            f"{where} holds {card.model!r}, which is not read without timm; its keys: {shortened(sorted(state))}",
            _READ,
            LIBRARY,
        )
    size = card.pixels.size
    try:
        if kind == "vit":
            return towers.vit(state, where, size=size, heads=heads, antialias=True, pooled=False)
        if kind == "swinv2":
            return towers.swinv2(state, where, size=size, **_windows(card.model))
        return towers.resnet(state, where) if kind == "resnet" else towers.convnext(state, where)
    except ArtefactError as error:
        raise ArtefactError(error.found, error.expected, error.next_step or LIBRARY) from None


def _windows(model: str) -> dict[str, Any]:
    """Windows and the pre-training's windows and images, which stand in the name only.

    Example:
        >>> _windows("swinv2_base_window12to16_192to256")
        {'window': 16, 'pretrained': (12, 192)}
    """
    first, second, image = re.findall(r"_window(\d+)(?:to(\d+))?_(\d+)", model)[0]
    return {"window": int(second or first), "pretrained": (int(first), int(image)) if second else (0, 0)}


class LibraryTower(nn.Module):
    """A network of timm itself: its pooled features before the classifier, and its last map or tokens."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> towers.Parts:
        """The pooled vector, and the tokens without what stands before the patches."""
        features = self.net.forward_features(x)
        whole = {"pool": self.net.forward_head(features, pre_logits=True)}
        if features.ndim == 4:
            channels_first = features.shape[1] == self.net.num_features
            return whole, features.flatten(2).transpose(1, 2) if channels_first else features.flatten(1, 2)
        return whole, features[:, int(getattr(self.net, "num_prefix_tokens", 0)) :]


def library_tower(state: Mapping[str, Tensor], where: str, card: Card) -> LibraryTower:
    """The same checkpoint through the package timm, for whatever architecture it knows.

    Args:
        state: published key → tensor.
        where: the file, for messages.
        card: its name and size.

    Raises:
        MissingExtraError: timm is not installed. UsageError: it has no such model. ArtefactError: keys do not fit.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(f"timm cannot be imported: {error}", "the package timm", "pip install timm") from None
    try:
        net: Any = timm.create_model(card.model, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise UsageError(f"timm has no model {card.model!r}: {error}", "a name of timm.list_models()") from None
    heads = ("head.", "fc.", "classifier.", "head_dist.")
    body = {k: v for k, v in state.items() if not k.startswith(heads) or k in net.state_dict()}
    try:
        net.load_state_dict(body)
    except RuntimeError as error:
        raise ArtefactError(f"{where} does not fit timm's {card.model}: {error}", "its own checkpoint") from None
    resize = getattr(net, "set_input_size", None)
    if resize is not None:
        with torch.no_grad():
            resize(img_size=card.pixels.size)
    return LibraryTower(net.eval())
