"""FLAIR's image tower: a ResNet-50 trained with texts on fundus photographs."""

from __future__ import annotations

from pathlib import Path

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.nets.published import towers
from tapetum.nets.published.foreign import ForeignEncoder, Pixels, stem_of, weights_file
from tapetum.nets.published.keys import shortened, without_prefix
from tapetum.nets.spec import read_state

__all__ = ["flair"]

_FILES = ("model.safetensors", "flair_resnet.safetensors")
_WHERE = (
    "fetch flair_resnet.pth (linked from documents/FAQ.md of jusiro/FLAIR on github.com) or model.safetensors "
    "(jusiro2/FLAIR on huggingface.co), copy it here; make a folder of a .pth with tapetum.learn.convert.convert"
)
_TRUNK = "vision_model.model."
_PROJECTION = "vision_model.projection_head_vision.projection.weight"


def flair(*, weights: Path | str, size: int = 512) -> ForeignEncoder:
    """FLAIR's image tower from a file on disk, with its map into the space that it shares with texts.

    Args:
        weights: a `.safetensors` file, a folder with `model.safetensors`, or a `.pth` file with tensors only. Nothing
            is ever downloaded.
        size: side of the input in pixels, at least 64; upstream uses 512.

    Returns:
        An encoder with the blocks `projection` (512 columns of length 1; a dot product with the rows of the text
        encoder `flair` is FLAIR's cosine) and `avg` (2048, before the map).

    Raises:
        ArtefactError: no such file, or one of another architecture; the message lists the keys on both sides.
        UsageError: a size below 64.

    Source: Silva-Rodríguez et al., Medical Image Analysis 2025, arXiv 2308.07898; code: jusiro/FLAIR. Pixels / 255
    without mean and standard deviation, bilinear, longer side 512. Differs: the zeros that make the image square stand
    on both sides instead of right and below; the published weights could not be had here, so that only the layout is
    proven.
    """
    if size < 64:
        raise UsageError(f"size={size} for flair", "at least 64", "size=512")
    path = weights_file(weights, _FILES, _WHERE)
    state = read_state(path)
    trunk = without_prefix(state, _TRUNK)
    if not trunk or _PROJECTION not in state:
        raise ArtefactError(
            f"{path} holds no FLAIR image tower; its {len(state)} keys: {shortened(sorted(state))}",
            f"keys that begin with {_TRUNK}, and {_PROJECTION}",
            _WHERE,
        )
    matrix = state[_PROJECTION]
    tower = towers.projected(towers.resnet(trunk, str(path)), "", matrix, str(path))
    pixels = Pixels(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")
    return ForeignEncoder(tower, f"flair-{stem_of(path)}-{size}", pixels, local="avg").eval()
