"""Any BERT-like text model of `transformers` from a local folder."""

from __future__ import annotations

from pathlib import Path

from tapetum.nets.sentence import SentenceEncoder

__all__ = ["transformer"]


def transformer(*, path: Path | str, max_tokens: int = 0, normalise: bool = True) -> SentenceEncoder:
    """Mean-pooled last layer of a local BERT, RoBERTa or other encoder that `AutoModel` knows.

    Args:
        path: a folder with `config.json`, `model.safetensors` and the tokenizer's files.
        max_tokens: texts are cut there; 0 takes what the model allows.
        normalise: scale every row to length 1.

    Returns:
        A text encoder with as many columns as the model's hidden size.

    Raises:
        ArtefactError: a file is missing, is no safetensors, or holds too few weights.

    Source: Devlin et al., NAACL 2019, arXiv 1810.04805 (BERT); Reimers and Gurevych, EMNLP 2019, arXiv 1908.10084 (mean
    pooling). Differs: frozen; no network access at any time.
    """
    folder = Path(path)
    return SentenceEncoder(f"transformer-{folder.name}", folder, normalise=normalise, max_tokens=max_tokens).eval()
