"""A vision model of `transformers` from a folder or the local cache: ViT, DINO, MAE, CLIP, SigLIP, ResNet and so on."""

from __future__ import annotations

import itertools
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import nearest
from tapetum.nets.local import local_folder, local_model, read_json, stored_shape, tensors_in
from tapetum.nets.spec import RESAMPLINGS, EncoderSpec, state_digest

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
        joint_name: the name of its block where the folder holds the text side too and the vector is the joint one.
        options: passed to `from_pretrained`.
    """

    model: str
    whole: str = ""
    whole_name: str = "cls"
    skipped: Callable[[Any], int] = lambda config: 0
    resizable: bool = False
    joint_name: str = ""
    options: dict[str, Any] = field(default_factory=dict[str, Any])


_NO_POOLER = {"add_pooling_layer": False}  # ViT's pooler is an untrained layer in most published weights


def _one(config: Any) -> int:
    return 1


def _one_and_registers(config: Any) -> int:
    return 1 + int(config.num_register_tokens)


_SIGLIP = _Kind("SiglipVisionModel", "pooler", "pool", resizable=True, joint_name="projection")
_CLIP = _Kind("CLIPVisionModel", "pooler", skipped=_one, resizable=True)
_KINDS: dict[str, _Kind] = {
    "vit": _Kind("ViTModel", "first", skipped=_one, resizable=True, options=_NO_POOLER),
    "deit": _Kind("DeiTModel", "first", skipped=lambda config: 2, resizable=True, options=_NO_POOLER),
    "vit_mae": _Kind("ViTMAEModel", "first", skipped=_one, resizable=True, options={"mask_ratio": 0.0}),
    "dinov2": _Kind("Dinov2Model", "first", skipped=_one),
    "dinov2_with_registers": _Kind("Dinov2WithRegistersModel", "first", skipped=_one_and_registers),
    "dinov3_vit": _Kind("DINOv3ViTModel", "first", skipped=_one_and_registers),
    "dinov3_convnext": _Kind("DINOv3ConvNextModel", "first", "pool", skipped=_one),
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "convnext": _Kind("ConvNextModel"),
    "convnextv2": _Kind("ConvNextV2Model"),
    "efficientnet": _Kind("EfficientNetModel"),
    "resnet": _Kind("ResNetModel"),
    "swin": _Kind("SwinModel", options=_NO_POOLER),
    "swinv2": _Kind("Swinv2Model", options=_NO_POOLER),
}
_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
_TEXT_SIDE = r"(text_model|text_projection)\."
_RESAMPLINGS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as preprocessor_config.json writes them
_FIXED = frozenset({"dinov2", "dinov2_with_registers"})  # they interpolate at every call, in a way that ONNX lacks
_PROJECTION = "visual_projection.weight"  # of CLIP, into the space that images and texts share


class _Transformer(nn.Module):
    def __init__(self, path: Path, name: str, model_type: str, size: int, resample: str) -> None:
        super().__init__()
        kind = _KINDS[model_type]
        self._kind = kind
        self._mae = model_type == "vit_mae"
        stored = tensors_in(path)
        self._projects = kind is _CLIP and _PROJECTION in stored
        if self._projects:
            what, options = "CLIPVisionModelWithProjection", {"config": _projecting_config(path)}
        else:
            what, options = kind.model, kind.options
        self.net = local_model(path, what, other_side=_TEXT_SIDE, **options)
        native, mean, std, resample = _preprocessing(path, resample)
        size = size or native
        self._options: dict[str, Any] = {}
        if kind.resizable and size != _trained_size(self.net.config):
            self._options["interpolate_pos_encoding"] = True
        try:
            if model_type in _FIXED:
                _fix_positions(self.net.embeddings, size)
            with torch.inference_mode():
                whole, patches, joint = self._parts(torch.zeros(1, 3, size, size))
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"{path} takes no images of size={size}: {error}", f"its own size, {native}") from error
        side = math.isqrt(patches.shape[1])
        if side * side != patches.shape[1]:
            raise ArtefactError(f"{path} gives {patches.shape[1]} patches", "a square number of them")
        local = "patch" if kind.whole else "avg"
        is_joint = kind.joint_name and "logit_scale" in stored
        whole_name = kind.joint_name if is_joint else kind.whole_name
        named = [(whole_name, whole), (local, patches), ("projection", joint)]
        widths = {name: int(part.shape[-1]) for name, part in named if part is not None}
        ends = list(itertools.accumulate(widths.values(), initial=0))
        self.spec = EncoderSpec(
            name=f"{model_type}-{name}-{size}",
            size=size,
            mean=mean,
            std=std,
            dim=ends[-1],
            grid=(side, side),
            blocks=dict(zip(widths, itertools.pairwise(ends), strict=True)),
            token_dim=widths[local],
            token_block=local,
            weights_digest=state_digest(self),
            resample=resample,
        )

    def _parts(
        self, x: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b d"] | None, Float[Tensor, "b t e"], Float[Tensor, "b p"] | None]:
        """The vector for the whole image, the patches, and CLIP's projection; None for what the model has not."""
        options = dict(self._options)
        if self._mae:
            # Masked autoencoders shuffle the patches by this noise; rising noise keeps their order.
            count = (x.shape[2] // self.net.config.patch_size) * (x.shape[3] // self.net.config.patch_size)
            options["noise"] = torch.arange(count, dtype=x.dtype).expand(x.shape[0], count)
        out = (self.net.vision_model if self._projects else self.net)(pixel_values=x, **options)
        hidden = out.last_hidden_state
        if hidden.ndim == 4:
            return None, hidden.flatten(2).transpose(1, 2), None
        patches = hidden[:, self._kind.skipped(self.net.config) :]
        if not self._kind.whole:
            return None, patches, None
        whole = hidden[:, 0] if self._kind.whole == "first" else out.pooler_output
        return whole, patches, self.net.visual_projection(whole) if self._projects else None

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        whole, patches, joint = self._parts(x)
        return torch.cat([part for part in (whole, patches.mean(1), joint) if part is not None], dim=1)

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        return self._parts(x)[1]


def _fix_positions(embeddings: Any, size: int) -> None:
    """Interpolate DINOv2's position embeddings once, by its own function, for the size that is used."""
    config = embeddings.config
    tokens = 1 + (size // config.patch_size) ** 2
    with torch.no_grad():
        fixed = embeddings.interpolate_pos_encoding(torch.zeros(1, tokens, config.hidden_size), size, size)
    embeddings.position_embeddings = nn.Parameter(fixed.clone())
    embeddings.interpolate_pos_encoding = types.MethodType(_stored_positions, embeddings)  # also right in a copy


def _stored_positions(embeddings: Any, *_: Any) -> Tensor:
    return embeddings.position_embeddings


def _projecting_config(path: Path) -> Any:
    """The image side's configuration with the width that is stored: published ones keep it with the whole model."""
    from transformers import CLIPVisionConfig

    config: Any = CLIPVisionConfig.from_pretrained(path, local_files_only=True)
    config.projection_dim = stored_shape(path, _PROJECTION)[0]
    return config


def _trained_size(config: Any) -> int:
    size = getattr(config, "image_size", 0)
    return int(size[0] if isinstance(size, list | tuple) else size)


def _preprocessing(path: Path, wanted: str) -> tuple[int, tuple[float, ...], tuple[float, ...], str]:
    """Size, mean, standard deviation and resampling as the weights' authors wrote them down, or as `wanted`."""
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
    if std is not None and raw.get("include_top", False) and not plain:
        std = (std[0] ** 2, std[1] ** 2, std[2] ** 2)  # EfficientNet divides by it a second time
    resample = wanted or _RESAMPLINGS.get(raw.get("resample", -1))
    if not isinstance(size, int) or mean is None or std is None or resample is None:
        found = {key: raw.get(key) for key in ("size", "image_mean", "image_std", "resample")}
        raise ArtefactError(
            f"the preprocessing in {path} is not complete: {found}",
            "size, three image_mean, three image_std and resample 2 (bilinear) or 3 (bicubic)",
            "complete preprocessor_config.json from the model's card, or choose: transformer(…, resample='bicubic')",
        )
    if raw.get("do_rescale", True) is False or abs(raw.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
        raise ArtefactError(
            f"{path} does not scale pixels to 0..1 (rescale_factor={raw.get('rescale_factor')})", "1/255 = 0.00392…"
        )
    if raw.get("rescale_offset", False):
        raise ArtefactError(f"{path} shifts pixels to -1..1 before normalising (rescale_offset)", "pixels in 0..1")
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


def transformer(*, path: Path | str, size: int = 0, resample: str = "") -> _Transformer:
    """A vision model from a folder or the local cache, with the preprocessing that lies beside its weights.

    Args:
        path: a folder with `config.json`, `model.safetensors` and `preprocessor_config.json`, or an id such as
            `"facebook/dinov2-small"` that is already in the local Hugging Face cache. Nothing is ever downloaded.
        size: side of the input in pixels; 0 takes the one of `preprocessor_config.json`. Position embeddings are
            interpolated for other sizes, as `transformers` does it.
        resample: `"bilinear"` or `"bicubic"`; empty takes the one of `preprocessor_config.json`.

    Returns:
        An encoder with two blocks where the architecture has a vector for the whole image (`cls` and `patch`, the mean
        of the patches; `pool` instead of `cls` where it is pooled by attention or average), else with one, `avg`. Where
        the folder holds a whole image-text model, `projection` is the image's vector in the joint space, not scaled to
        length 1: for CLIP a third block, for SigLIP in place of `pool`, with which it is one.

    Raises:
        ArtefactError: a file is missing, incomplete, no safetensors, or holds weights of another architecture.
        UsageError: an architecture that is not known here, or a size or resampling that it does not take.

    Source: the models of `transformers` 5: ViT (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929), MAE (He et al., CVPR
    2022, arXiv 2111.06377), DINOv2 (Oquab et al., TMLR 2024, arXiv 2304.07193; registers: Darcet et al., ICLR 2024,
    arXiv 2309.16588), DINOv3 (Siméoni et al., 2025, arXiv 2508.10104), SigLIP (Zhai et al., ICCV 2023, arXiv
    2303.15343), CLIP (Radford et al., ICML 2021, arXiv 2103.00020), ConvNeXt V2 (Woo et al., CVPR 2023, arXiv
    2301.00808), Swin V2 (Liu et al., CVPR 2022, arXiv 2111.09883), ResNet (He et al., CVPR 2016, arXiv 1512.03385),
    EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946).
    Differs: images are padded to a square instead of cropped; the mean of all patches stands beside the class token.
    """
    if resample and resample not in RESAMPLINGS:
        raise UsageError(f"resample={resample!r} for transformer", " | ".join(RESAMPLINGS), "resample='bicubic'")
    folder = local_folder(path, _FILES)
    model_type = str(read_json(folder / "config.json").get("model_type"))
    if model_type not in _KINDS:
        raise UsageError(f"{folder} holds a {model_type!r}", nearest(model_type, list(_KINDS)))
    return _Transformer(folder, Path(path).name, model_type, size, resample).eval()
