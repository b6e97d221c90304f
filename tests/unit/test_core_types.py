"""The plain types check what they are given and keep rows together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.types import Embeddings, Head, Interval, Laterality, Predictions, Split


def embeddings(**changes):
    values = {
        "image_ids": ("a", "b", "c"),
        "patient_ids": ("p", "p", "q"),
        "features": np.arange(6, dtype=np.float32).reshape(3, 2),
        "encoder": "tiny()",
        "blocks": {"avg": (0, 2)},
        "tokens": np.arange(12, dtype=np.float16).reshape(3, 2, 2),
        "logits": np.arange(3, dtype=np.float32).reshape(3, 1),
        "head": Head(np.ones((1, 2), np.float32), np.zeros(1, np.float32)),
    }
    return Embeddings(**(values | changes))


def test_rows_keep_everything_together():
    whole = embeddings()
    got = whole.rows(["c", "a"])
    assert (got.image_ids, got.patient_ids) == (("c", "a"), ("q", "p"))
    np.testing.assert_array_equal(got.features, [[4, 5], [0, 1]])
    np.testing.assert_array_equal(got.tokens[:, 0, 0], [8, 0])
    np.testing.assert_array_equal(got.logits, [[2], [0]])
    assert (got.encoder, got.blocks, got.head) == (whole.encoder, whole.blocks, whole.head)
    assert whole.rows([]).features.shape == (0, 2)


def test_rows_without_optional_parts():
    got = embeddings(tokens=None, logits=None, head=None).rows(["b"])
    assert (got.tokens, got.logits, got.head) == (None, None, None)


def test_rows_of_an_unknown_image_are_refused():
    with pytest.raises(DataError, match="1 of 2 images are not embedded, first deadbeef0123") as caught:
        embeddings().rows(["a", "deadbeef0123456789"])
    assert "tapetum embed" in caught.value.next_step


@pytest.mark.parametrize("changes", [{"image_ids": ("a",)}, {"patient_ids": ()}, {"features": np.zeros((2, 2), "f4")}])
def test_lengths_must_agree(changes):
    with pytest.raises(DataError, match="rows of features"):
        embeddings(**changes)


def test_predictions_must_be_images_by_findings():
    good = np.zeros((2, 1))

    def predictions(logits, probs):
        return Predictions(("a", "b"), ("p", "q"), ("OD", "OS"), ("dr",), logits, probs, np.array([np.nan]), "m")

    assert predictions(good, good).findings == ("dr",)
    for logits, probs in ((good, good[:1]), (good.T, good), (np.zeros((2, 2)), np.zeros((2, 2)))):
        with pytest.raises(DataError, match="both of shape"):
            predictions(logits, probs)


def test_interval_prints_undefined_as_such():
    assert str(Interval(0.8951, 0.85, 0.9, "bootstrap")) == "0.895 [0.850, 0.900]"
    assert str(Interval(np.nan, np.nan, np.nan, "bootstrap")) == "undefined"
    assert Interval(0.5, 0.4, 0.6, "bootstrap").level == 0.95


def test_values_as_clinics_write_them():
    assert [Laterality.RIGHT, Laterality.LEFT, Laterality.BOTH] == ["OD", "OS", "OU"]
    assert Laterality("unknown") is Laterality.UNKNOWN
    assert [s.value for s in Split] == ["train", "val", "test", "unassigned"]


def test_types_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Interval(0.5, 0.4, 0.6, "m").estimate = 1.0
