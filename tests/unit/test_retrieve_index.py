"""Exact search against a plain sort, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.retrieve import Index
from tapetum.retrieve import index as index_module


def clinic(images=90, width=8, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(images, width)).astype(np.float32)
    return vectors, tuple(f"i{j}" for j in range(images)), tuple(f"p{j // 2}" for j in range(images))


def plain(vectors, ids, patients, query, k, without):
    cosine = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ (query / np.linalg.norm(query))
    order = [i for i in np.argsort(-cosine, kind="stable") if patients[i] != without][:k]
    return [ids[i] for i in order], cosine[order]


@pytest.mark.parametrize("rows", [7, 65_536])
@pytest.mark.parametrize("excluding", [True, False])
def test_search_equals_a_plain_sort(monkeypatch, rows, excluding):
    monkeypatch.setattr(index_module, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(index_module, "QUERIES_AT_ONCE", 4)
    vectors, ids, patients = clinic()
    queries = vectors[:10] * 3
    hits = Index(vectors, ids, patients).search(queries, 9, exclude_patients=patients[:10] if excluding else None)
    for i, query in enumerate(queries):
        names, scores = plain(vectors, ids, patients, query, 9, patients[i] if excluding else "")
        assert list(hits.image_ids[i]) == names
        np.testing.assert_allclose(hits.scores[i], scores, atol=1e-5)
        assert (ids[i] in hits.image_ids[i]) != excluding
    assert hits.scores.dtype == np.float32


@pytest.mark.parametrize("rows", [2, 100])
def test_equal_images_come_in_the_order_of_the_index(monkeypatch, rows):
    monkeypatch.setattr(index_module, "ROWS_AT_ONCE", rows)
    vectors = np.array([[0, 1], [1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    index = Index(vectors, tuple("abcde"), tuple("vwxyz"))
    assert index.search(np.array([[2.0, 0.0]]), 2).image_ids == (("b", "c"),)
    assert index.search(np.array([[2.0, 0.0]]), 4).image_ids == (("b", "c", "d", "a"),)


def test_fewer_images_than_asked_for():
    index = Index(np.eye(3), tuple("abc"), ("p", "p", "q"))
    hits = index.search(np.array([[1.0, 0, 0], [1.0, 0, 0]]), 5, exclude_patients=("p", "stranger"))
    assert hits.image_ids == (("c", "", "", "", ""), ("a", "b", "c", "", ""))
    assert np.isnan(hits.scores[0, 1:]).all()
    assert not np.isnan(hits.scores[1, :3]).any()


def test_bad_input_is_refused():
    vectors, ids, patients = clinic(4)
    with pytest.raises((DataError, TypeError)):
        Index(vectors, ids[:3], patients)
    with pytest.raises(DataError, match="0 vectors"):
        Index(np.empty((0, 3)), (), ())
    for wrong in (np.zeros_like(vectors), np.full_like(vectors, np.nan), np.full_like(vectors, np.inf)):
        with pytest.raises(DataError, match="4 of 4"):
            Index(wrong, ids, patients)
    index = Index(vectors, ids, patients)
    assert len(index) == 4
    with pytest.raises(UsageError, match="k=0"):
        index.search(vectors, 0)
    with pytest.raises(DataError, match=r"\[q 8\]"):
        index.search(vectors[:, :3], 1)
    with pytest.raises(DataError, match="2 patients for 4 queries"):
        index.search(vectors, 1, exclude_patients=patients[:2])
