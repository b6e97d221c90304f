"""Predictions for an archive and for loose files, and the table that leaves the house."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.store import read_meta
from tapetum.core.types import Predictions
from tapetum.learn import predict_archive, predict_files
from tapetum.learn.predict import askable, image_files, predictions_csv, save_predictions
from toys import COLOURS

FINDINGS = tuple(COLOURS)


@pytest.fixture(scope="module")
def export(toy_archive):
    return toy_archive.path.parent / "export"


def test_loose_files_get_the_scores_of_the_archive(toy_archive, toy_model, export):
    whole = predict_archive(toy_archive, toy_model, FINDINGS)
    by_source = {r.source.rsplit("/", 1)[-1]: r.image_id for r in toy_archive.records}
    files = image_files([export])[:20]
    loose, refused = predict_files(files, toy_model, FINDINGS)
    assert refused == ()
    assert loose.image_ids == tuple(map(str, files))
    rows = [whole.image_ids.index(by_source[f.name]) for f in files]
    np.testing.assert_allclose(loose.logits, whole.logits[rows], atol=1e-5)
    assert set(loose.patient_ids) == {"unknown"}
    eyes = {r.image_id: r.laterality.value for r in toy_archive.records}
    assert whole.lateralities == tuple(eyes[i] for i in whole.image_ids)


def test_files_that_are_no_images_are_named_and_the_rest_goes_on(toy_model, export, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    progress = []
    files = [*image_files([export])[:18], bad, tmp_path / "missing.png"]
    found, refused = predict_files(files, toy_model, FINDINGS, progress=lambda *p: progress.append(p))
    assert len(found.image_ids) == 18
    assert [text.partition(":")[0] for text in refused] == [str(bad), str(tmp_path / "missing.png")]
    assert progress == [(16, 20), (20, 20)]
    with pytest.raises(DataError, match="none of 1 files"):
        predict_files([bad], toy_model)


def test_what_can_be_asked(toy_model):
    assert askable(toy_model) == toy_model.operating.findings
    assert "drusen" in askable(dataclasses.replace(toy_model, operating=None))
    assert askable(dataclasses.replace(toy_model, findings=("x",))) == ("x",)
    with pytest.raises(DataError, match="no pack"):
        askable(dataclasses.replace(toy_model, operating=None, pack=""))


def table():
    return Predictions(
        ("i1", "i2"), ("p1", "p1"), ("OD", "OS"), ("a", "b"), np.array([[1.0, 2.0], [np.nan, 4.0]]),
        np.array([[0.7, np.nan], [0.2, np.nan]]), np.array([0.7, np.nan]), "m",
    )  # fmt: skip


def test_the_table_guesses_nothing():
    rows = list(csv.DictReader(io.StringIO(predictions_csv(table()))))
    assert [(r["image"], r["finding"], r["decision"], r["probability"]) for r in rows] == [
        ("i1", "a", "present", "0.7"), ("i1", "b", "", ""), ("i2", "a", "absent", "0.2"), ("i2", "b", "", ""),
    ]  # fmt: skip
    assert rows[0]["patient"] == "p1"
    assert rows[2]["eye"] == "OS"
    assert rows[2]["score"] == ""
    assert all("Not a cleared device" in r["intended_use"] for r in rows)


def test_saved_as_a_file_or_as_an_artefact(tmp_path):
    save_predictions(table(), tmp_path / "p.csv", {})
    save_predictions(table(), tmp_path / "p", {"model": "m"})
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "p" / "predictions.csv").read_text()
    assert read_meta(tmp_path / "p", "predictions").parents == {"model": "m"}
