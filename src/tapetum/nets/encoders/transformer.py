"""A vision model of `transformers` from a local folder: ViT, DINOv2, DINOv3, SigLIP, CLIP, ConvNeXt, Swin, ResNet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import nearest
from tapetum.nets.local import local_model, read_json
from tapetum.nets.spec import EncoderSpec, state_digest

__all__ = ["transformer"]


@dataclass(frozen=True)
class _Kind:
    """How one architecture is read.

    Attributes:
        model: the class in `transformers`.
        whole: where the one vector for the image stands: `"first"` token, `"pooler"` output, or `""` for none.
        whole_name: the name of its block.
        skipped: tokens before the patches.
        resizable: takes `interpolate_pos_encoding` for sizes other than it was trained at.
        options: passed to `from_pretrained`.
    """

    model: str
    whole: str = ""
    whole_name: str = "cls"
    skipped: Callable[[Any], int] = lambda config: 0
    resizable: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


_NO_POOLER = {"add_pooling_layer": False}  # ViT's pooler is an untrained layer in most published weights


def _one(config: Any) -> int:
    return 1


def _one_and_registers(config: Any) -> int:
    return 1 + int(config.num_register_tokens)


_SIGLIP = _Kind("SiglipVisionModel", "pooler", "pool", resizable=True)
_CLIP = _Kind("CLIPVisionModel", "pooler", skipped=_one, resizable=True)
_KINDS: dict[str, _Kind] = {
    "vit": _Kind("ViTModel", "first", skipped=_one, resizable=True, options=_NO_POOLER),
    "deit": _Kind("DeiTModel", "first", skipped=lambda config: 2, resizable=True, options=_NO_POOLER),
    "vit_mae": _Kind("ViTMAEModel", "first", skipped=_one, resizable=True, options={"mask_ratio": 0.0}),
    "dinov2": _Kind("Dinov2Model", "first", skipped=_one),
    "dinov2_with_registers": _Kind("Dinov2WithRegistersModel", "first", skipped=_one_and_registers),
    "dinov3_vit": _Kind("DINOv3ViTModel", "first", skipped=_one_and_registers),
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "convnext": _Kind("ConvNextModel"),
    "convnextv2": _Kind("ConvNextV2Model"),
    "resnet": _Kind("ResNetModel"),
    "swin": _Kind("SwinModel", options=_NO_POOLER),
    "swinv2": _Kind("Swinv2Model", options=_NO_POOLER),
}
_RESAMPLINGS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as preprocessor_config.json writes them


class _Transformer(nn.Module):
    def __init__(self, path: Path, model_type: str, size: int) -> None:
        super().__init__()
        kind = _KINDS[model_type]
        self._kind = kind
        self._mae = model_type == "vit_mae"
        self.net = local_model(path, kind.model, **kind.options)
        native, mean, std, resample = _preprocessing(path)
        size = size or native
        self._options: dict[str, Any] = {}
        if kind.resizable and size != _trained_size(self.net.config):
            self._options["interpolate_pos_encoding"] = True
        try:
            with torch.inference_mode():
                whole, patches = self._parts(torch.zeros(1, 3, size, size))
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"{path} takes no images of size={size}: {error}", f"its own size, {native}") from error
        side, width = math.isqrt(patches.shape[1]), int(patches.shape[2])
        if side * side != patches.shape[1]:
            raise ArtefactError(f"{path} gives {patches.shape[1]} patches", "a square number of them")
        local = "patch" if kind.whole else "avg"
        ends = (0, width) if whole is None else (0, int(whole.shape[1]), int(whole.shape[1]) + width)
        names = (local,) if whole is None else (kind.whole_name, local)
        self.spec = EncoderSpec(
            name=f"{model_type}-{path.name}-{size}",
            size=size,
            mean=mean,
            std=std,
            dim=ends[-1],
            grid=(side, side),
            blocks=dict(zip(names, itertools.pairwise(ends), strict=True)),
            token_dim=width,
            token_block=local,
            weights_digest=state_digest(self),
            resample=resample,
        )

    def _parts(self, x: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b d"] | None, Float[Tensor, "b t e"]]:
        """The vector for the whole image, if the architecture has one, and the patches."""
        options = dict(self._options)
        if self._mae:
            # Masked autoencoders shuffle the patches by this noise; rising noise keeps their order.
            count = (x.shape[2] // self.net.config.patch_size) * (x.shape[3] // self.net.config.patch_size)
            options["noise"] = torch.arange(count, dtype=x.dtype).expand(x.shape[0], count)
        out = self.net(pixel_values=x, **options)
        hidden = out.last_hidden_state
        if hidden.ndim == 4:
            return None, hidden.flatten(2).transpose(1, 2)
        whole = {"first": lambda: hidden[:, 0], "pooler": lambda: out.pooler_output, "": lambda: None}[
            self._kind.whole
        ]()
        return whole, hidden[:, self._kind.skipped(self.net.config) :]

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        whole, patches = self._parts(x)
        mean = patches.mean(1)
        return mean if whole is None else torch.cat([whole, mean], dim=1)

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        return self._parts(x)[1]


def _trained_size(config: Any) -> int:
    size = getattr(config, "image_size", 0)
    return int(size[0] if isinstance(size, list | tuple) else size)


def _preprocessing(path: Path) -> tuple[int, tuple[float, ...], tuple[float, ...], str]:
    """Size, mean, standard deviation and resampling as the weights' authors wrote them down."""
    if (path / "preprocessor_config.json").is_file():
        raw = read_json(path / "preprocessor_config.json")
    else:
        raw = _inside_processor(path)
    size = raw.get("crop_size") if raw.get("do_center_crop") and raw.get("crop_size") else raw.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    plain = raw.get("do_normalize", True) is False
    mean = _three([0.0] * 3 if plain else raw.get("image_mean"))
    std = _three([1.0] * 3 if plain else raw.get("image_std"))
    resample = _RESAMPLINGS.get(raw.get("resample", -1))
    if not isinstance(size, int) or mean is None or std is None or resample is None:
        found = {key: raw.get(key) for key in ("size", "image_mean", "image_std", "resample")}
        raise ArtefactError(
            f"the preprocessing in {path} is not complete: {found}",
            "size, three image_mean, three image_std and resample 2 (bilinear) or 3 (bicubic)",
            "complete preprocessor_config.json from the model's card",
        )
    if raw.get("do_rescale", True) is False or abs(raw.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
        raise ArtefactError(
            f"{path} does not scale pixels to 0..1 (rescale_factor={raw.get('rescale_factor')})", "1/255 = 0.00392…"
        )
    return size, mean, std, resample


def _three(values: Any) -> tuple[float, ...] | None:
    return tuple(map(float, values)) if isinstance(values, list) and len(values) == 3 else None


def _inside_processor(path: Path) -> dict[str, Any]:
    """The image part of `processor_config.json`, where newer exports of image-text models keep it."""
    if (path / "processor_config.json").is_file():
        inside = read_json(path / "processor_config.json").get("image_processor")
        if isinstance(inside, dict):
            return inside
    raise ArtefactError(
        f"no preprocessor_config.json in {path}",
        "size, image_mean, image_std and resample that the weights were trained with; they are never guessed",
        "copy preprocessor_config.json from where the weights came from",
    )


def transformer(*, path: Path | str, size: int = 0) -> _Transformer:
    """A vision model from a local folder, with the preprocessing that lies beside its weights.

    Args:
        path: a folder with `config.json`, `model.safetensors` and `preprocessor_config.json`.
        size: side of the input in pixels; 0 takes the one of `preprocessor_config.json`.

    Returns:
        An encoder with two blocks where the architecture has a vector for the whole image (`cls` and `patch`, the mean
        of the patches; for SigLIP `pool`, its attention pooling, and `patch`), else with one, `avg`.

    Raises:
        ArtefactError: a file is missing, incomplete, no safetensors, or lacks weights.
        UsageError: an architecture that is not known here, or a size that it does not take.

    Source: the models of `transformers` 5: ViT (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929), MAE (He et al., CVPR
    2022, arXiv 2111.06377), DINOv2 (Oquab et al., TMLR 2024, arXiv 2304.07193), SigLIP (Zhai et al., ICCV 2023, arXiv
    2303.15343), CLIP (Radford et al., ICML 2021, arXiv 2103.00020), ConvNeXt V2 (Woo et al., CVPR 2023, arXiv
    2301.00808), Swin V2 (Liu et al., CVPR 2022, arXiv 2111.09883), ResNet (He et al., CVPR 2016, arXiv 1512.03385).
    Differs: images are padded to a square instead of cropped; the mean of all patches stands beside the class token.
    """
    folder = Path(path)
    model_type = str(read_json(folder / "config.json").get("model_type"))
    if model_type not in _KINDS:
        raise UsageError(f"{folder} holds a {model_type!r}", nearest(model_type, list(_KINDS)))
    return _Transformer(folder, model_type, size).eval()
