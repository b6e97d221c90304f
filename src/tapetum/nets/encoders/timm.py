"""A checkpoint in the key layout of timm, read without timm: ViT, DeiT, ResNet, ConvNeXt (V2), Swin V2."""

from __future__ import annotations

from pathlib import Path

from tapetum.nets.published.foreign import ForeignEncoder, stem_of, weights_file
from tapetum.nets.published.timm_layout import library_tower, read_card, tower_of
from tapetum.nets.spec import read_state

__all__ = ["timm"]

_FILES = ("model.safetensors", "pytorch_model.bin")
_WHERE = (
    "copy model.safetensors and config.json of a timm repository on huggingface.co (for example "
    "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k) into one folder here"
)


def timm(
    *,
    weights: Path | str,
    model: str = "",
    size: int = 0,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    resample: str = "",
    heads: int = 0,
    library: bool = False,
) -> ForeignEncoder:
    """A network of timm from a folder or a file; sizes are read from the tensors, the rest from `config.json`.

    Args:
        weights: a folder with `model.safetensors` and `config.json` as on timm's pages, or a file of weights.
        model: timm's name, for example `"vit_base_patch16_224"`; `""` takes `architecture` of `config.json`.
        size: side of the input in pixels; 0 takes that of `config.json`. Positions are interpolated as timm does it.
        mean: per channel, on pixels scaled to 0..1; () takes that of `config.json`.
        std: as `mean`.
        resample: `"bilinear"` or `"bicubic"`; `""` takes that of `config.json`.
        heads: attention heads; 0 = those of the published vision transformers of that width.
        library: build the network with the package timm, which must be installed: any architecture it knows.

    Returns:
        An encoder with the blocks `cls` (or `pool`, the normed mean, where the head pools so) and `patch` for a vision
        transformer, `pool` and `patch` for a ConvNeXt, and `avg` alone else. With `library`, `pool` and `patch`.

    Raises:
        ArtefactError: no such file, one of another architecture (the message lists the keys on both sides), or
            a preprocessing that is said nowhere.
        UsageError: an architecture that is not read without timm, or options that contradict `config.json`.
        MissingExtraError: `library=True` and timm is not installed.

    Source: Wightman, PyTorch Image Models (timm, 2019-, Apache-2.0), whose key layouts are read here. Differs: images
    are padded to a square instead of resized and cropped; heads are left out; the published weights could not be had
    here, so that only the layouts are proven, with random weights built by timm 1.0.31.
    """
    path = weights_file(weights, _FILES, _WHERE)
    card = read_card(path.parent, model, size, mean, std, resample)
    state = read_state(path)
    tower = library_tower(state, str(path), card) if library else tower_of(state, str(path), card, heads)
    name = f"timm-{card.model}-{stem_of(path)}-{card.pixels.size}"
    local = "avg" if card.model.startswith(("resnet", "tv_resnet", "swinv2")) and not library else "patch"
    return ForeignEncoder(tower, name, card.pixels, local=local).eval()
