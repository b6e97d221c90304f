"""RETFound, the vision transformer pre-trained on retinal images: MAE and DINOv2 checkpoints."""

from __future__ import annotations

from pathlib import Path

from tapetum.core.errors import UsageError
from tapetum.nets.published import towers
from tapetum.nets.published.foreign import IMAGENET_MEAN, IMAGENET_STD, ForeignEncoder, Pixels, stem_of, weights_file
from tapetum.nets.published.keys import without_prefix
from tapetum.nets.spec import read_state

__all__ = ["retfound"]

_FILES = ("model.safetensors", "RETFound_mae_natureCFP.safetensors", "RETFound_dinov2_meh.safetensors")
_WHERE = (
    "ask for access to a RETFound repository of YukunZhou on huggingface.co (RETFound_mae_natureCFP, "
    "RETFound_mae_natureOCT, RETFound_mae_meh, RETFound_dinov2_meh, …), copy its .pth here, and make a folder of it "
    "with tapetum.learn.convert.convert"
)


def retfound(*, weights: Path | str, size: int = 224, heads: int = 0) -> ForeignEncoder:
    """RETFound from a file on disk; which of its two kinds, and its width and depth, is read from the tensors.

    Args:
        weights: a `.safetensors` file, a folder with `model.safetensors` as `tapetum.learn.convert` writes it, or a
            `.pth` file with tensors only. Nothing is ever downloaded.
        size: side of the input in pixels, a multiple of the patches' side (16 for MAE, 14 for DINOv2); the learnt
            positions are interpolated to it.
        heads: attention heads; 0 = those of the published vision transformers of that width (16 for ViT-L).

    Returns:
        An encoder with the blocks `pool` (the normed mean of the patches, which upstream fine-tunes and hands out as
        its features; absent for DINOv2), `cls` (absent where the file has only `fc_norm`) and `patch`.

    Raises:
        ArtefactError: no such file, or one of another architecture; the message lists the keys on both sides.
        UsageError: a size that is no multiple of the patches' side, or unknown heads.

    Source: Zhou et al., Nature 2023 (RETFound); He et al., CVPR 2022, arXiv 2111.06377 (MAE); Oquab et al., TMLR 2024,
    arXiv 2304.07193 (DINOv2). ImageNet mean and standard deviation, bicubic, norms with eps 1e-6, as upstream's code
    has them. Differs: images are padded to a square instead of resized to 256 and cropped to 224; the decoder and the
    heads are left out; the published weights could not be had here, so that only the layout is proven.
    """
    path = weights_file(weights, _FILES, _WHERE)
    state = read_state(path)
    if any(key.startswith("backbone.") for key in state):  # a DINOv2 teacher, beside its heads
        state = without_prefix(state, "backbone.")
    if size < 1:
        raise UsageError(f"size={size} for retfound", "a multiple of the patches' side", "size=224")
    dino = any(key.endswith("ls1.gamma") for key in state)
    # Upstream resizes the positions of both kinds with MAE's function, which does not smooth before it shrinks.
    tower = towers.vit(state, str(path), size=size, heads=heads, antialias=False, pooled=not dino)
    kind = "dinov2" if dino else "mae"
    pixels = Pixels(size, IMAGENET_MEAN, IMAGENET_STD, "bicubic")
    return ForeignEncoder(tower, f"retfound-{kind}-{stem_of(path)}-{size}", pixels).eval()
