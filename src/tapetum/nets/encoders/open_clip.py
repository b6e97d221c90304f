"""The image tower of a CLIP from open_clip, read without open_clip."""

from __future__ import annotations

from pathlib import Path

from tapetum.nets.published.foreign import ForeignEncoder
from tapetum.nets.published.open_clip_layout import image_tower, read_folder

__all__ = ["open_clip"]


def open_clip(*, path: Path | str, size: int = 0, heads: int = 0) -> ForeignEncoder:
    """The image tower of a folder as open_clip publishes it, with its map into the space shared with texts.

    Args:
        path: a folder with `open_clip_config.json` and `open_clip_model.safetensors` (or `model.safetensors`, as
            `tapetum.learn.convert` writes it). Nothing is ever downloaded.
        size: side of the input in pixels; 0 takes that of the configuration; positions are interpolated.
        heads: attention heads; 0 takes what the configuration says.

    Returns:
        An encoder with the blocks `projection` (of length 1; a dot product with a row of the text encoder `open_clip`
        is CLIP's cosine), `cls` and `patch`.

    Raises:
        ArtefactError: a file is missing, says too little, or is of another architecture (the message lists the keys).
        UsageError: a tower or an option of open_clip that is not read here, such as CLIP's ResNets.

    Source: Radford et al., ICML 2021, arXiv 2103.00020; Ilharco et al., OpenCLIP, 2021 (Zenodo 5143773), whose key
    layouts are read; Zhang et al., 2023, arXiv 2303.00915 (BiomedCLIP, a vision transformer of timm inside). Differs:
    images are padded to a square instead of cropped; the published weights could not be had here, so that only the
    layouts are proven, with random weights built by open_clip 3.3.0.
    """
    clip = read_folder(Path(path), size)
    name = f"open_clip-{clip.folder.name}-{clip.pixels.size}"
    return ForeignEncoder(image_tower(clip, heads), name, clip.pixels).eval()
