"""Forms and tables: an answer for each eye on one line, columns of eyes, boxes, grades. All sentences are our own."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.knowledge import load_pack, parse_report
from tapetum.knowledge.answers import answer, code
from tapetum.phantom.reports import AUTHORS

PACK = load_pack("fundus")


def _said(text: str) -> list[tuple[str, str, str]]:
    return sorted((m.finding, m.laterality.value, m.status) for m in parse_report(text, PACK).mentions)


DRUSEN = [("drusen", "OD", "absent"), ("drusen", "OS", "present")]


@pytest.mark.parametrize(
    "text",
    [
        "Drusen: OD absent; OS present",
        "Drusen: OD absent, OS present.",
        "Drusen - R: no, L: yes",
        "Drusen  RE -  LE +",
        "Drusen R- L+",
        "Drusen: right eye nil, left eye few",
        "Drusen: right none; left numerous, soft",
        "Drusen: not seen OD, seen OS",
        "Drusen absent OD, present OS",
        "Any drusen? R: N  L: Y",
        "Drusen (R/L): no/yes",
        "Drusen OD/OS: 0/2",
        "1. Drusen - R neg, L pos",
        "Drusen.......R: no  L: yes",
        "Finding | Right | Left\nDrusen | none | present",
        "| Sign | RE | LE |\n|---|---|---|\n| Drusen | - | + |",
        "Sign\tOD\tOS\nDrusen\tno\tyes",
        "          OD      OS\nDrusen    nil     many",
        "Findings (R / L)\nDrusen: - / +",
        "Drusen: OD [ ] OS [x]",
        "[ ] OD [x] OS drusen",
        "[x] drusen OS\n[ ] drusen OD",
        "Drusen OS, none OD",
    ],
)
def test_an_answer_for_each_eye(text: str):
    assert _said(text) == DRUSEN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Haemorrhages OU: none", [("retinal_haemorrhage", "OU", "absent")]),
        ("Haemorrhages: none OU", [("retinal_haemorrhage", "OU", "absent")]),
        ("Haemorrhages: neither eye", [("retinal_haemorrhage", "OU", "absent")]),
        ("Glaucoma: R suspected, L none", [("glaucoma", "OD", "uncertain"), ("glaucoma", "OS", "absent")]),
        ("Drusen: OD ? OS -", [("drusen", "OD", "uncertain"), ("drusen", "OS", "absent")]),
        ("Drusen: OD n/a, OS no", [("drusen", "OS", "absent")]),
        ("AMD: OD dry, OS none", [("age_related_macular_degeneration", "OS", "absent"), ("dry_amd", "OD", "present")]),
        ("DR: R suspected mild, L none", [("diabetic_retinopathy", "OS", "absent"), ("mild_npdr", "OD", "uncertain")]),
        ("DR grade: R2 / R0", [("diabetic_retinopathy", "OS", "absent"), ("severe_npdr", "OD", "present")]),
        ("DR grade OD: 2, OS: 0", [("diabetic_retinopathy", "OS", "absent"), ("moderate_npdr", "OD", "present")]),
        ("Right eye\nDrusen: n\nMicroaneurysms: y", [("drusen", "OD", "absent"), ("microaneurysm", "OD", "present")]),
        ("OD: exudates +, drusen -", [("drusen", "OD", "absent"), ("hard_exudate", "OD", "present")]),
        ("OD: drusen (-)", [("drusen", "OD", "absent")]),
        ("OD: drusen no, exudates yes", [("drusen", "OD", "absent"), ("hard_exudate", "OD", "present")]),
        ("Cup/disc: OD 0.3, OS 0.8", []),
        ("History: diabetes\nDrusen: R yes L no", [("drusen", "OD", "uncertain"), ("drusen", "OS", "uncertain")]),
    ],
)
def test_forms(text: str, expected: list[tuple[str, str, str]]):
    assert _said(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # No rows of forms: sentences keep their own rules.
        (
            "Drusen in the right eye - no haemorrhage.",
            [("drusen", "OD", "present"), ("retinal_haemorrhage", "OD", "absent")],
        ),
        ("OD: mild NPDR - stable.", [("mild_npdr", "OD", "present")]),
        ("Drusen right, cataract left.", [("cataract", "OS", "present"), ("drusen", "OD", "present")]),
    ],
)
def test_sentences_stay_sentences(text: str, expected: list[tuple[str, str, str]]):
    assert _said(text) == expected


def test_places_and_reasons_of_a_row():
    text = "Exam:\nDrusen: OD absent; OS present\nReview in 6 months."
    report = parse_report(text, PACK)
    assert [text[m.start : m.end] for m in report.mentions] == ["Drusen", "Drusen"]
    assert [text[s.start : s.end] for s in report.sentences] == ["Drusen: OD absent; OS present", "Review in 6 months."]
    assert report.mentions[0].why == "absent: answered 'absent'; OD: the answer's own eye"
    assert [s.visible for s in report.sentences] == [True, False]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("few, temporal", "present"),
        ("3", "present"),
        ("0", "absent"),
        ("0.3", None),
        ("not seen", "absent"),
        ("cannot exclude", "uncertain"),
        ("n/a", None),
        ("+/-", "uncertain"),
    ],
)
def test_answers(text: str, status: str | None):
    one = answer(text, "en")
    assert one is not None
    assert one.status == status


@pytest.mark.parametrize(
    "text", ["", "microaneurysms", "no severe", "6/12", "present and absent, as written by the nurse", "2 3"]
)
def test_what_is_no_answer(text: str):
    one = answer(text, "en")
    assert one is None or one.status is None


def test_codes():
    assert code("R1M1", "", PACK) == (("nonproliferative_dr", "present"), ("maculopathy", "present"))
    assert code("R0", "", PACK) == (("diabetic_retinopathy", "absent"),)
    assert code("2", "", PACK) is None
    assert code("grade 3", "diabetic_retinopathy", PACK) == (("severe_npdr", "present"),)
    assert code("R9", "diabetic_retinopathy", PACK) is None


@pytest.mark.parametrize("style", ["eye_answers", "eye_columns"])
def test_styles_of_development(style: str):
    from tapetum.core.types import Laterality
    from tapetum.phantom.claims import Claim, EyeClaims, Visit
    from tapetum.phantom.people import draw_patient

    claims = {
        side: Claim(side, "drusen", status, 0.5)
        for side, status in ((Laterality.RIGHT, "absent"), (Laterality.LEFT, "uncertain"))
    }
    eyes = [
        EyeClaims(
            s, (), (c,) if c.status == "uncertain" else (), (c,) if c.status == "absent" else (), "", 0.4, False, ()
        )
        for s, c in claims.items()
    ]
    patient = draw_patient(np.random.default_rng(0), 1, ("cam_a",))
    for seed in range(20):
        report = AUTHORS.member(style)(Visit(patient, eyes[0], eyes[1], ""), np.random.default_rng(seed))
        assert _said(report.text) == [("drusen", "OD", "absent"), ("drusen", "OS", "uncertain")], report.text
