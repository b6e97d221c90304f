"""Which words belong to which image, and which images are unseen."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import ImageRecord, Laterality, Split
from tapetum.knowledge import load_pack
from tapetum.learn.pairs import image_text, mentions_any, report_labels

PACK = load_pack("fundus")


def record(report, eye=Laterality.RIGHT):
    return ImageRecord(
        hashlib.sha256(report.encode()).hexdigest(), "p", "unknown", eye, "fundus", 10, 10, 3, 8, float("nan"), 50.0,
        "F", "unknown", "a.png", report, (), Split.TRAIN,
    )  # fmt: skip


def test_the_report_as_written_with_plain_commas():
    assert image_text(record(" drusen，cataract；glaucoma "), PACK, "report") == "drusen, cataract, glaucoma"
    assert image_text(record("drusen"), None, "report") == "drusen"


def test_the_sentences_of_this_eye():
    text = "Right eye: glaucoma. Left eye: cataract."
    right, left = (image_text(record(text, eye), PACK, "eye") for eye in (Laterality.RIGHT, Laterality.LEFT))
    assert "glaucoma" in right
    assert "cataract" not in right
    assert "cataract" in left
    assert "glaucoma" not in left


def test_the_findings_that_are_affirmed_most_specific_only():
    assert image_text(record("Moderate NPDR. No glaucoma. Drusen."), PACK, "findings") == ", ".join(
        sorted([PACK.findings["moderate_npdr"].name, PACK.findings["drusen"].name])
    )
    assert image_text(record("No glaucoma."), PACK, "findings") == ""


def test_modes_that_do_not_exist_or_need_a_pack():
    with pytest.raises(UsageError):
        image_text(record("drusen"), PACK, "reports")
    with pytest.raises(UsageError):
        image_text(record("drusen"), None, "findings")


@pytest.mark.parametrize(
    ("report", "named"),
    [
        ("Macular hole.", True),
        ("No macular hole.", True),
        ("Possible macular hole in the left eye.", True),
        ("macular holes", True),
        ("Drusen.", False),
        ("", False),
    ],
)
def test_any_mention_counts_affirmed_or_not(report, named):
    assert mentions_any(record(report), PACK, ["macular_hole"]) is named


def test_synonyms_and_finer_forms_count():
    synonym = PACK.findings["diabetic_retinopathy"].synonyms["en"][0]
    for report in (synonym, "Moderate NPDR", "proliferative diabetic retinopathy"):
        assert mentions_any(record(report), PACK, ["diabetic_retinopathy"])
    # The coarser form does not name the finer one.
    assert not mentions_any(record("Diabetic retinopathy."), PACK, ["moderate_npdr"])


def test_a_name_counts_in_every_sense():
    assert mentions_any(record("Status after cataract surgery."), PACK, ["cataract"])


def test_labels_from_reports():
    records = [record("Moderate NPDR."), record("No glaucoma."), record(""), record("Possible glaucoma.")]
    found = report_labels(records, PACK, ["diabetic_retinopathy", "glaucoma"])
    np.testing.assert_array_equal(found, [[1, 0], [0, 0], [np.nan, np.nan], [0, 0]])


def test_pairs_of_an_archive(toy_archive, toy_embeddings):
    from tapetum.learn.pairs import pairs_of

    asked = []

    def encode(texts):
        asked.append(tuple(texts))
        return np.arange(len(texts) * 2, dtype=float).reshape(-1, 2)

    records = toy_archive.in_split(Split.TRAIN)
    found = pairs_of(toy_archive, toy_embeddings, records, text="report", encode_text=encode)
    assert asked == [tuple(sorted(set(found.texts)))]
    by_id = {r.image_id: r for r in records}
    for i, image_id in enumerate(found.image_ids):
        assert found.texts[i] == by_id[image_id].report
        assert found.patient_ids[i] == by_id[image_id].patient_id
        np.testing.assert_array_equal(found.features[i], toy_embeddings.rows([image_id]).features[0])
        assert found.text_features[i, 0] == 2 * asked[0].index(found.texts[i])


def test_too_few_or_equal_texts_are_refused(toy_archive, toy_embeddings):
    from tapetum.learn.pairs import pairs_of

    records = toy_archive.in_split(Split.TRAIN)
    with pytest.raises(DataError, match="4 of 4 images"):
        pairs_of(toy_archive, toy_embeddings, records[:4], text="report", encode_text=len)
    same = [r for r in toy_archive.records if r.report == "glaucoma"]
    with pytest.raises(DataError, match="texts are equal"):
        pairs_of(toy_archive, toy_embeddings, same, text="report", encode_text=len)
