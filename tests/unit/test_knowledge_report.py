from __future__ import annotations

import pytest

from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality
from tapetum.knowledge import load_pack, negated, parse_report, status_at
from tapetum.knowledge.laterality import eyes
from tapetum.knowledge.phrases import PhraseTable, words
from tapetum.knowledge.sections import find_sections
from tapetum.knowledge.sentences import split

PACK = load_pack("fundus")
OD, OS, OU, UNKNOWN = Laterality.RIGHT, Laterality.LEFT, Laterality.BOTH, Laterality.UNKNOWN

# report → "finding status eye severity", in order
CASES: dict[str, list[str]] = {
    "No haemorrhage or exudate but drusen are seen.": [
        "retinal_haemorrhage absent unknown",
        "hard_exudate absent unknown",
        "drusen present unknown",
    ],
    "OD: normal. OS: moderate NPDR": ["normal_fundus present OD", "moderate_npdr present OS moderate"],
    "OD normal, OS moderate NPDR": ["normal_fundus present OD", "moderate_npdr present OS moderate"],
    "RE - normal\nLE - BRVO with macular edema": [
        "normal_fundus present OD",
        "branch_retinal_vein_occlusion present OS",
        "macular_oedema present OS",
    ],
    "R: NPDR L: PDR": ["nonproliferative_dr present OD", "proliferative_dr present OS"],
    "Rule out glaucoma.": ["glaucoma uncertain unknown"],
    "Glaucoma cannot be excluded.": ["glaucoma uncertain unknown"],
    "Glaucoma was ruled out.": ["glaucoma absent unknown"],
    "suspected glaucoma": ["glaucoma_suspect present unknown"],
    "possible glaucoma OS": ["glaucoma uncertain OS"],
    "suspected diabetic retinopathy": ["diabetic_retinopathy uncertain unknown"],
    "? early AMD": ["early_amd uncertain unknown early"],
    "Glaucoma? Drusen seen.": ["glaucoma uncertain unknown", "drusen present unknown"],
    "Possibly no drusen": ["drusen uncertain unknown"],
    "No suspicious drusen": ["drusen absent unknown"],
    "Vitreous haemorrhage has resolved.": ["vitreous_haemorrhage absent unknown"],
    "The haemorrhages have not resolved.": ["retinal_haemorrhage present unknown"],
    "No evidence of diabetic retinopathy in the left eye.": ["diabetic_retinopathy absent OS"],
    "No DR in the right eye, cataract in the left eye.": ["diabetic_retinopathy absent OD", "cataract present OS"],
    "No haemorrhage, exudate or drusen in RE, but drusen in LE": [
        "retinal_haemorrhage absent OD",
        "hard_exudate absent OD",
        "drusen absent OD",
        "drusen present OS",
    ],
    "Drusen in the right eye and flame hemorrhage in the left eye.": [
        "drusen present OD",
        "flame_haemorrhage present OS",
    ],
    "Right eye has drusen and haemorrhages, left eye is normal.": [
        "drusen present OD",
        "retinal_haemorrhage present OD",
        "normal_fundus present OS",
    ],
    "Right eye and left eye show drusen": ["drusen present OU"],
    "Drusen in the right eye and the left eye is normal.": ["drusen present OD", "normal_fundus present OS"],
    "Retinal detachment in the right eye. The fellow eye is normal.": [
        "retinal_detachment present OD",
        "normal_fundus present OS",
    ],
    "Cataract OS>OD": ["cataract present OU"],
    "Both eyes show mild NPDR.": ["mild_npdr present OU mild"],
    "Drusen temporal to the left macula, to the left of the fovea": ["drusen present OS"],
    "Left eye shows severe NPDR. There are cotton wool spots.": [
        "severe_npdr present OS severe",
        "cotton_wool_spot present OS",
    ],
    "No DR, moderate cataract.": ["diabetic_retinopathy absent unknown", "cataract present unknown moderate"],
    "No drusen, mild haemorrhage or exudate.": [
        "drusen absent unknown",
        "retinal_haemorrhage absent unknown mild",
        "hard_exudate absent unknown",
    ],
    "Drusen: none, haemorrhages: none.": ["drusen absent unknown", "retinal_haemorrhage absent unknown"],
    "Haemorrhages, exudates and neovascularisation are absent.": [
        "retinal_haemorrhage absent unknown",
        "hard_exudate absent unknown",
        "neovascularisation absent unknown",
    ],
    "Drusen present, haemorrhage absent.": ["drusen present unknown", "retinal_haemorrhage absent unknown"],
    "Mild cataract, DR absent.": ["cataract present unknown mild", "diabetic_retinopathy absent unknown"],
    "Neither drusen nor haemorrhages in either eye": ["drusen absent OU", "retinal_haemorrhage absent OU"],
    "No change in drusen.": ["drusen present unknown"],
    "Not only drusen but also haemorrhage.": ["drusen present unknown", "retinal_haemorrhage present unknown"],
    "no visible haemorrhages": ["retinal_haemorrhage absent unknown"],
    "No retinal abnormality, cataract.": ["normal_fundus present unknown", "cataract present unknown"],
    "No abnormality detected in the right eye.": ["normal_fundus present OD"],
    "Fundus otherwise normal.": [],
    "The macula is not normal.": [],
    "Cataract surgery in 2010; diabetic retinopathy screening.": [],
    "Seen by Dr. Who and signed by DR Who. DR present. C/D 0.5.": ["diabetic_retinopathy present unknown"],
    "he dr the ma in rp": [],
    "Proliferativ retinopahty with neovascularization": [
        "proliferative_dr present unknown",
        "neovascularisation present unknown",
    ],
    "A macroaneurysm and two micro-aneurysms": [
        "retinal_macroaneurysm present unknown",
        "microaneurysm present unknown",
    ],
    "cataract, mild nonproliferative retinopathy": ["cataract present unknown", "mild_npdr present unknown mild"],
    "moderate non proliferative retinopathy，epiretinal membrane": [
        "moderate_npdr present unknown moderate",
        "epiretinal_membrane present unknown",
    ],
    "Cataract: mild. Drusen (moderate). Glaucoma is advanced.": [
        "cataract present unknown mild",
        "drusen present unknown moderate",
        "glaucoma present unknown advanced",
    ],
    "Hard exudates: severe hypertensive retinopathy": [
        "hard_exudate present unknown",
        "hypertensive_retinopathy present unknown severe",
    ],
    "Retina flat; cup to disc ratio is enlarged OS>OD": ["optic_disc_cupping present OU"],
    "R/E: NAD, CDR 0.3, no CWS. L/E: sev NPDR, DBH, HE+.": [
        "normal_fundus present OD",
        "cotton_wool_spot absent OD",
        "severe_npdr present OS severe",
        "dot_blot_haemorrhage present OS",
        "hard_exudate present OS",
    ],
    "HE HAS NO DRUSEN": ["drusen absent unknown"],
    "Family history of glaucoma.": ["glaucoma uncertain unknown"],
    "History: PDR. Findings: laser scars. Plan: watch glaucoma.": [
        "proliferative_dr uncertain unknown",
        "laser_scar present unknown",
        "glaucoma uncertain unknown",
    ],
    "Impression OD: drusen\nImpression: cataract": ["drusen present OD", "cataract present unknown"],
    "Macula: hole. Disc: pale.": ["macular_hole present unknown", "optic_disc_pallor present unknown"],
    "lens dust": ["lens_dust present unknown"],
    "MAs and CWS in OU": ["microaneurysm present OU", "cotton_wool_spot present OU"],
}


@pytest.mark.parametrize("text", CASES)
def test_reports(text: str) -> None:
    found = parse_report(text, PACK).mentions
    assert [" ".join(filter(None, [m.finding, m.status, m.laterality.value, m.severity])) for m in found] == CASES[text]
    assert all(m.why for m in found)


def test_why_names_the_words_that_decided() -> None:
    (mention,) = parse_report("OS: there is no sign of drusen.", PACK).mentions
    assert "'no sign of'" in mention.why
    assert "'OS'" in mention.why


def test_spans_point_into_the_original_text() -> None:
    text = "  OD:\tCotton-wool\u00a0spots and  dot-blot   hemorrhages;\r\nnil else"
    report = parse_report(text, PACK)
    assert [text[m.start : m.end] for m in report.mentions] == ["Cotton-wool\u00a0spots", "dot-blot   hemorrhages"]
    assert [report.sentences[m.sentence].start <= m.start for m in report.mentions] == [True, True]


def test_present_by_eye() -> None:
    report = parse_report(
        "OD: drusen. OS: cataract, ?glaucoma. Impression: hypertensive retinopathy, both eyes ERM.", PACK
    )
    shared = {"hypertensive_retinopathy", "epiretinal_membrane"}
    assert report.present(OU) == report.present() == shared | {"drusen", "cataract"}
    assert report.present(OD) - shared == {"drusen"}
    assert report.present(OS) - shared == {"cataract"}
    assert not report.present(UNKNOWN) & {"drusen", "cataract"}


def test_text_for_an_eye() -> None:
    report = parse_report(
        "Findings: OD: soft drusen. OS: clear. Impression: early AMD. Cataract in the left eye.", PACK
    )
    assert report.text_for(OD) == "soft drusen. early AMD."
    assert report.text_for(OS) == "clear. early AMD. Cataract in the left eye."
    assert report.text_for() == "soft drusen. clear. early AMD. Cataract in the left eye."


def test_empty_report() -> None:
    report = parse_report("", PACK)
    assert (report.sections, report.sentences, report.mentions, report.present(), report.text_for(OD)) == (
        (),
        (),
        (),
        frozenset(),
        "",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen by Dr. Who. C/D 0.5. Clear.", ["Seen by Dr. Who.", "C/D 0.5.", "Clear."]),
        ("No DR. Macula flat", ["No DR.", "Macula flat"]),
        ("Drusen O.D. Cataract O.S. is dense", ["Drusen O.D.", "Cataract O.S. is dense"]),
        ("cataract，drusen、lens dust", ["cataract", "drusen", "lens dust"]),
        ("no cataract, drusen", ["no cataract, drusen"]),
        ("黄斑水肿。青光眼；drusen", ["黄斑水肿。", "青光眼；", "drusen"]),
        ("- drusen\n- cataract\n\n", ["drusen", "cataract"]),
        ("Glaucoma? Drusen. ? AMD", ["Glaucoma?", "Drusen.", "? AMD"]),
        ("1. Drusen 2.5 DD", ["1. Drusen 2.5 DD"]),
        ("Signed by A. B. Person and Dr. C. Other", ["Signed by A. B. Person and Dr. C. Other"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[a:b] for a, b in split(text)] == expected


def test_sections_inherit_and_reset_the_eye() -> None:
    text = "Seen today.\nRight eye (OD):\nflat\nFundus OS: drusen\nIMPRESSION\nstable\nFollow-up: 1 year"
    assert [(s.kind, s.eye, text[s.start : s.end].strip()) for s in find_sections(text)] == [
        ("preamble", UNKNOWN, "Seen today."),
        ("preamble", OD, "flat"),
        ("findings", OS, "drusen"),
        ("impression", UNKNOWN, "stable"),
        ("advice", UNKNOWN, "1 year"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("right eye, LE, OU, os", [OD, OS, OU, OS]),
        ("bilateral drusen", [OU]),
        ("to the left of the disc; upper right; was left untreated; re le", []),
        ("left untreated", []),
        ("the right optic disc and left fundus", [OD, OS]),
        ("right and left eyes", [OU]),
        ("right eye, then the other eye", [OD, OS]),
        ("the other eye", []),
    ],
)
def test_eyes(text: str, expected: list[Laterality]) -> None:
    assert [eye.side for eye in eyes(text)] == expected


def test_negation_without_a_lexicon() -> None:
    text = "There is no wibble and a wobble."
    assert negated(text, text.index("wibble"), text.index("wibble") + 6)
    assert not negated(text, text.index("wobble"), text.index("wobble") + 6)
    assert status_at("wibble without wobble", 0, 21).status == "present", "the concept's own words trigger nothing"
    assert status_at("possible wibble", 9, 15).status == "uncertain"
    assert not negated("No fever. Wibble seen.", 10, 16)


@pytest.mark.parametrize(("start", "end"), [(3, 3), (-1, 2), (0, 99), (2, 1)])
def test_no_concept_at_that_place(start: int, end: int) -> None:
    with pytest.raises(UsageError, match="no concept at"):
        status_at("drusen", start, end)


def test_longest_phrase_wins_and_typos_are_few() -> None:
    table = PhraseTable([("epiretinal membrane", "a"), ("membrane", "b"), ("epiretinal", "c")], typos=True)
    found = [hit.value for hit in table.find(words("membrane epiretinal membranes, epiretnal membran epirtnal"))]
    assert found == ["b", "a", "a"], "one slip is mended, two are not"
    assert [h.value for h in PhraseTable([("papillary", 1)], typos=True).find(words("capillary"))] == []
