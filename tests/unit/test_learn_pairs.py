"""Which words belong to which image, and which images are unseen."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import ImageRecord, Laterality, Split
from tapetum.knowledge import load_pack
from tapetum.learn.pairing.pairs import image_text, mentions_any, pairs_of, report_labels

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
    records = toy_archive.in_split(Split.TRAIN)
    with pytest.raises(DataError, match="4 of 4 images"):
        pairs_of(toy_archive, toy_embeddings, records[:4], text="report", encode_text=len)
    same = [r for r in toy_archive.records if r.report == "glaucoma"]
    with pytest.raises(DataError, match="texts are equal"):
        pairs_of(toy_archive, toy_embeddings, same, text="report", encode_text=len)


def test_what_an_image_cannot_show_stays_out_by_option():
    text = "History: diabetes for ten years. Findings: OD drusen, OS clear. Plan: review in 3 months."
    seen = record(text)
    visible = image_text(seen, PACK, "visible")
    assert "drusen" in visible
    assert "diabetes" not in visible
    assert "review" not in visible
    assert "diabetes" in image_text(seen, PACK, "eye")


# --- several images of one eye, findings and their names -----------------------------------------------------------


def visits(archive, eyes):
    """The archive's records as if each patient had come twice; the first two images show one eye."""
    records = list(archive.in_split(Split.TRAIN))
    return [
        dataclasses.replace(r, visit_id=f"v{i // 4}", laterality=eyes[i % 2], patient_id=f"p{i // 4}", report=f"{say}.")
        for i, (r, say) in enumerate(zip(records, ["drusen", "drusen", "drusen", "glaucoma"] * 100, strict=False))
    ]


def encode(texts):
    return np.arange(len(texts) * 2, dtype=float).reshape(-1, 2)


@pytest.mark.parametrize(("pool", "reduce"), [("mean", np.mean), ("max", np.max)])
def test_images_of_one_eye_and_visit_with_equal_words_are_one_row(toy_archive, toy_embeddings, pool, reduce):
    records = visits(toy_archive, (Laterality.RIGHT, Laterality.RIGHT))
    found = pairs_of(toy_archive, toy_embeddings, records, text="report", encode_text=encode, pool=pool)
    # of every four images three have the same words
    assert found.texts[:4] == ("drusen.", "glaucoma.", "drusen.", "glaucoma.")
    assert found.image_ids[:2] == (records[0].image_id, records[3].image_id)
    first = toy_embeddings.rows([r.image_id for r in records[:3]]).features
    np.testing.assert_allclose(found.features[0], reduce(first, axis=0))
    assert found.features.dtype == np.float32
    assert found.visits[0] == "p0/v0/OD"


@pytest.mark.parametrize(
    ("eyes", "visit"),
    [
        ((Laterality.RIGHT, Laterality.LEFT), "v"),
        ((Laterality.UNKNOWN,) * 2, "v"),
        ((Laterality.RIGHT,) * 2, "unknown"),
    ],
)
def test_other_eyes_and_unknown_ones_stay_alone(toy_archive, toy_embeddings, eyes, visit):
    records = [
        dataclasses.replace(r, visit_id=visit, report=f"{'drusen' if i < 20 else 'glaucoma'}")
        for i, r in enumerate(visits(toy_archive, eyes))
    ]
    found = pairs_of(toy_archive, toy_embeddings, records, text="report", encode_text=encode, pool="mean")
    two = eyes[0] is Laterality.RIGHT and eyes[1] is Laterality.LEFT
    # the right eye of a patient was photographed twice, and so was the left one
    assert len(found.texts) == (len(records) // 2 if two else len(records))


def test_findings_of_reports_are_closed_and_named_on_demand(toy_archive, toy_embeddings):
    records, asked = visits(toy_archive, (Laterality.RIGHT, Laterality.LEFT)), []

    def spy(texts):
        asked.append(list(texts))
        return encode(texts)

    found = pairs_of(toy_archive, toy_embeddings, records, text="report", encode_text=spy, names=True)
    assert found.tree is not None
    assert set(found.tree.names) == PACK.closure(["drusen", "glaucoma"]) - {"fundus"}
    np.testing.assert_array_equal(found.labels, report_labels(records, PACK, found.tree.names))
    assert asked[1] == [PACK.findings[f].name for f in found.tree.names]
    np.testing.assert_array_equal(found.names, encode(found.tree.names))
    assert pairs_of(toy_archive, toy_embeddings, records, text="report", encode_text=encode).names is None


def test_facets_of_an_archive(toy_archive, toy_embeddings):
    records = visits(toy_archive, (Laterality.RIGHT, Laterality.LEFT))
    found = pairs_of(toy_archive, toy_embeddings, records, text="facets", encode_text=encode)
    assert found.texts[:4] == ("drusen", "drusen", "drusen", "glaucoma")
    assert found.alternatives is not None
    assert found.alternatives.place.shape[:2] == (len(records), 4)


def test_another_pool_is_refused(toy_archive, toy_embeddings):
    with pytest.raises(UsageError, match="pool='sum'"):
        pairs_of(toy_archive, toy_embeddings, toy_archive.records, text="report", encode_text=encode, pool="sum")
