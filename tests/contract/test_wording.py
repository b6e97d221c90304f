"""What every way to put an image into words promises; a new file in the family is tested by being there."""

from __future__ import annotations

import hashlib

import pytest

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import ImageRecord, Laterality, Split
from tapetum.knowledge import load_pack
from tapetum.knowledge.prompts import place, shelf

WORDINGS = Family("tapetum.learn.wording")
PACK = load_pack("fundus")
each_wording = pytest.mark.parametrize("name", WORDINGS.names())
REPORTS = ["Moderate NPDR. No glaucoma. Drusen.", "Normal fundus.", "Epiretinal membrane, cataract", "drusen，glaucoma"]


def record(report, eye=Laterality.RIGHT):
    return ImageRecord(
        hashlib.sha256(report.encode()).hexdigest(), "p", "unknown", eye, "fundus", 10, 10, 3, 8, float("nan"), 50.0,
        "F", "unknown", "a.png", report, (), Split.TRAIN,
    )  # fmt: skip


def texts(spec, report, eye=Laterality.RIGHT):
    return WORDINGS.build(spec)(record(report, eye), PACK)


@each_wording
@pytest.mark.parametrize("report", REPORTS)
def test_chances_sum_to_one_and_the_first_wording_is_there(name, report):
    found = texts(name, report)
    assert found
    assert found[0]
    assert all(sum(text.values()) == pytest.approx(1) for text in found if text)
    assert all(wording == wording.strip() != "" for text in found for wording in text)
    assert all(chance >= 0 for text in found for chance in text.values())


@each_wording
def test_nothing_said_gives_nothing(name):
    assert texts(name, "") == ()
    assert texts(name, "   ") == ()


@each_wording
def test_equal_reports_have_equal_texts(name):
    assert texts(name, REPORTS[0]) == texts(name, REPORTS[0])


@each_wording
def test_a_pack_is_needed_where_reports_are_read(name):
    if name == "report":
        assert WORDINGS.build(name)(record("drusen"), None) == ({"drusen": 1.0},)
        return
    with pytest.raises(UsageError, match="needs a domain pack"):
        WORDINGS.build(name)(record("drusen"), None)


@pytest.mark.parametrize("name", ["findings", "descriptions", "facets", "levels"])
def test_what_is_denied_is_not_said(name):
    assert texts(name, "No glaucoma.") == ()
    told = " ".join(wording for text in texts(name, "Cataract. No glaucoma.") for wording in text)
    assert "glaucoma" not in told
    assert "optic" not in told


def test_the_four_plain_ones():
    two = "Right eye: glaucoma. Left eye: cataract."
    assert texts("report", " drusen，cataract；glaucoma ") == ({"drusen, cataract, glaucoma": 1.0},)
    assert "cataract" not in next(iter(texts("eye", two)[0]))
    assert "glaucoma" not in next(iter(texts("eye", two, Laterality.LEFT)[0]))
    assert "diabetes" not in next(iter(texts("visible", "History: diabetes. Findings: drusen.")[0]))
    name = PACK.findings["moderate_npdr"].name
    assert texts("findings", "Moderate NPDR. Diabetic retinopathy. Drusen.") == ({f"drusen, {name}": 1.0},)


def test_descriptions_share_their_chance():
    seen = PACK.findings["macular_hole"].descriptions
    (found,) = texts("descriptions(share=0.6)", "Macular hole.")
    assert next(iter(found)) == PACK.findings["macular_hole"].name
    assert found[PACK.findings["macular_hole"].name] == pytest.approx(0.4)
    assert {text: chance for text, chance in found.items() if text in seen} == pytest.approx(
        dict.fromkeys(seen, 0.6 / len(seen))
    )
    assert texts("descriptions(share=0)", "Macular hole.")[0]["macular hole"] == 1


def test_descriptions_of_two_findings_stand_together():
    one, two = (PACK.findings[f].descriptions for f in ("cataract", "glaucoma"))
    (found,) = texts("descriptions", "Glaucoma and cataract.")
    assert list(found)[:2] == ["cataract, glaucoma", f"{one[0]} {two[0]}"]
    assert len(found) == 1 + max(len(one), len(two))


def test_facets_by_hand():
    name, description, group, where = texts("facets", "Macular hole.")
    assert name == {"macular hole": 1.0}
    assert set(description) == set(PACK.findings["macular_hole"].descriptions)
    assert group == {"macular disease": 1.0}
    assert where == {"the macula": 1.0}
    assert texts("facets(parts=('place',))", "Macular hole, drusen, glaucoma.") == (
        {"the macula, the optic disc": 1.0},
    )
    # of a normal eye the pack knows no group and no place
    assert [bool(text) for text in texts("facets", "Normal fundus.")] == [True, True, False, False]


def test_levels_by_hand():
    found = [next(iter(text), "") for text in texts("levels", "Mild NPDR and cataract.")]
    mild = PACK.findings["mild_npdr"].name
    assert found == [
        f"cataract, {mild}",
        "abnormal fundus",
        "disease of lens and vitreous, retinal vascular disease",
        "diabetic retinopathy, media opacity",
        f"cataract, {PACK.findings['nonproliferative_dr'].name}",
        mild,
    ]
    assert len(texts("levels(deepest=2)", "Mild NPDR.")) == 3


def test_shelves_and_places_come_from_the_tree():
    assert shelf(PACK, "mild_npdr") == "retinal vascular disease"
    assert shelf(PACK, "normal_fundus") == place(PACK, "normal_fundus") == ""
    assert place(PACK, "drusen") == "the macula"  # its own, not that of the signs above it
    assert place(PACK, "microaneurysm") == PACK.findings["retinal_signs"].place


@pytest.mark.parametrize(
    "spec", ["descriptions(share=1.2)", "facets(parts=())", "facets(parts=('colour',))", "levels(deepest=0)"]
)
def test_wrong_options_are_refused(spec):
    with pytest.raises(UsageError):
        texts(spec, "drusen")
