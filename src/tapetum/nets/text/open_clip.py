"""The text tower of a CLIP from open_clip, read without open_clip."""

from __future__ import annotations

from pathlib import Path

from tapetum.nets.published.foreign_text import BertText, ForeignText, tokenizer_of
from tapetum.nets.published.open_clip_layout import read_folder, text_tower

__all__ = ["open_clip"]


def open_clip(*, path: Path | str, heads: int = 0) -> ForeignText:
    """The text tower of a folder as open_clip publishes it: CLIP's own transformer, or a BERT as in BiomedCLIP.

    Args:
        path: a folder with `open_clip_config.json`, the weights, and the tokenizer's files: `tokenizer.json`, or
            `vocab.json` with `merges.txt`, or `vocab.txt` for a BERT. Nothing is ever downloaded.
        heads: attention heads; 0 takes what the configuration says, for a BERT those of the published ones.

    Returns:
        A text encoder whose rows have length 1 and share a space with the block `projection` of the image encoder.

    Raises:
        ArtefactError: a file is missing, says too little, or is of another architecture (the message lists the keys).
        UsageError: a tower or an option of open_clip that is not read here.

    Source: Radford et al., ICML 2021, arXiv 2103.00020; Ilharco et al., OpenCLIP, 2021 (Zenodo 5143773); Zhang et al.,
    2023, arXiv 2303.00915 (BiomedCLIP). Differs: texts with broken encodings are not mended (open_clip uses ftfy); the
    published weights could not be had here, so that only the layouts are proven, with random weights built by open_clip
    3.3.0.
    """
    clip = read_folder(Path(path))
    tower, dim, longest = text_tower(clip, heads)
    own = isinstance(tower, BertText)
    sets = (("tokenizer.json",), ("vocab.txt",)) if own else (("tokenizer.json",), ("vocab.json", "merges.txt"))
    tokenizer = tokenizer_of(clip.folder, "AutoTokenizer" if own else "CLIPTokenizer", sets)
    name = f"open_clip-{clip.folder.name}"
    return ForeignText(name, tower, tokenizer, dim, longest, unescape=True, lower=not own).eval()
