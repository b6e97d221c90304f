"""A text model of `transformers` from a folder or the local cache: BERT and its kin, CLIP, SigLIP."""

from __future__ import annotations

from pathlib import Path

from tapetum.core.errors import UsageError
from tapetum.nets.local import local_folder, read_json
from tapetum.nets.sentence import LAST, ClipTextEncoder, SentenceEncoder, SiglipTextEncoder, TextTower

__all__ = ["transformer"]

_JOINT: dict[str, type[ClipTextEncoder] | type[SiglipTextEncoder]] = {
    "clip": ClipTextEncoder,
    "clip_text_model": ClipTextEncoder,
    "siglip": SiglipTextEncoder,
    "siglip_text_model": SiglipTextEncoder,
}
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def transformer(
    *, path: Path | str, max_tokens: int = 0, normalise: bool = True, layers: tuple[int, ...] = LAST
) -> TextTower:
    """A local BERT, RoBERTa or kindred encoder read by the mean of its tokens, or CLIP's or SigLIP's text side.

    Args:
        path: a folder with `config.json`, `model.safetensors` and the tokenizer's files, or an id that is already in
            the local Hugging Face cache. Nothing is ever downloaded.
        max_tokens: texts are cut there; 0 takes what the model allows.
        normalise: scale every row to length 1.
        layers: for the BERT family, the hidden states whose tokens are averaged: 0 is the embedding, 1 the first layer,
            -1 the last; `(1, 2, -1)` is FLAIR's choice. CLIP and SigLIP pool by their own rule.

    Returns:
        A text encoder. BERT family: as many columns as the hidden size. CLIP, SigLIP: the space shared with the images,
        the block `projection` of the image side; `nets.local.joint_scale(path)` tells scale and bias of the logits.

    Raises:
        ArtefactError: a file is missing, is no safetensors, or holds weights of another architecture.
        UsageError: layers that the model does not have, or layers of a model that pools by its own rule.

    Source: Devlin et al., NAACL 2019, arXiv 1810.04805 (BERT); Reimers and Gurevych, EMNLP 2019, arXiv 1908.10084 (mean
    pooling); Silva-Rodríguez et al., Medical Image Analysis 2025, arXiv 2308.07898 (FLAIR, its layers); Radford et al.,
    ICML 2021, arXiv 2103.00020 (CLIP); Zhai et al., ICCV 2023, arXiv 2303.15343 (SigLIP).
    Differs: frozen; no network access at any time; padding is left out of every mean, also where FLAIR counts it.
    """
    folder = local_folder(path, _FILES)
    name = f"transformer-{Path(path).name}"
    joint = _JOINT.get(str(read_json(folder / "config.json").get("model_type")))
    layers = tuple(layers)
    if joint is None:
        sentences = SentenceEncoder(name, folder, normalise=normalise, max_tokens=max_tokens, layers=layers)
        return sentences.eval()
    if layers != LAST:
        raise UsageError(f"layers={layers} for {path}", "none: CLIP and SigLIP pool by their own rule", "leave it out")
    return joint(name, folder, normalise=normalise, max_tokens=max_tokens).eval()
