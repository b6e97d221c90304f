"""Change, visibility, templates and copied sentences; what is kept of a text for one eye."""

from __future__ import annotations

import pytest

from tapetum.core.types import Laterality
from tapetum.knowledge import load_pack, parse_report
from tapetum.knowledge.copies import copied_forward
from tapetum.knowledge.report import sentence_places

PACK = load_pack("fundus")
OD, OS = Laterality.RIGHT, Laterality.LEFT

CHANGES: dict[str, list[str]] = {
    "New drusen in the right eye.": ["drusen present new"],
    "No new drusen.": ["drusen absent"],
    "Drusen are unchanged.": ["drusen present stable"],
    "No change in drusen.": ["drusen present stable"],
    "Haemorrhages have increased.": ["retinal_haemorrhage present worse"],
    "Macular oedema has improved, cataract is stable.": ["macular_oedema present better", "cataract present stable"],
    "Vitreous haemorrhage has resolved.": ["vitreous_haemorrhage absent resolved"],
    "The haemorrhages have not resolved.": ["retinal_haemorrhage present stable"],
    "Cataract and new drusen.": ["cataract present", "drusen present new"],
    "Drusen and cataract are stable.": ["drusen present stable", "cataract present stable"],
    "Drusen, but the disc is unchanged.": ["drusen present"],
    "Progression of cataract; drusen.": ["cataract present worse", "drusen present"],
}


@pytest.mark.parametrize("text", CHANGES)
def test_change(text: str) -> None:
    found = parse_report(text, PACK).mentions
    assert [" ".join(filter(None, (m.finding, m.status, m.change))) for m in found] == CHANGES[text]
    assert all((m.change in m.why) for m in found)


def test_what_is_resolved_is_no_longer_there_however_far_its_denial() -> None:
    (mention,) = parse_report("There has been interval resolution of previously demonstrated drusen.", PACK).mentions
    assert (mention.status, mention.change) == ("absent", "resolved")


@pytest.mark.parametrize(
    ("text", "visible", "word"),
    [
        ("Drusen in both eyes.", True, "no word of history"),
        ("The optic disc is pink with a sharp edge, C/D 0.6.", True, "no word of history"),
        ("History of diabetes for 12 years.", False, "history"),
        ("Known history of glaucoma.", False, "history"),
        ("Review in 6 months.", False, "advice"),
        ("Drusen in both eyes, review in 6 months.", True, "beside the advice"),
        ("Complains of blurred vision.", False, "symptoms"),
        ("Visual acuity is reduced by cataract.", False, "acuity"),
        ("RE 20/40 unaided.", False, "'20/40'"),
        ("Examined on 6/12/2020.", True, "no word of history"),
        ("IOP 18 mmHg.", False, "pressure"),
        ("Compared with the previous visit.", False, "comparison"),
        ("Compared with the previous visit, more drusen.", True, "comparison"),
        ("Images were obtained after pupils dilated.", False, "technique"),
        ("Uses latanoprost drops.", False, "medication"),
        ("Reported by the night team.", False, "administration"),
        ("Raised intraocular pressure.", False, "leaves no mark"),
    ],
)
def test_visible(text: str, visible: bool, word: str) -> None:
    (sentence,) = parse_report(text, PACK).sentences
    assert sentence.visible is visible
    assert word in sentence.why


def test_headings_decide_what_can_be_seen() -> None:
    report = parse_report("History: cataract. Findings: drusen. Plan: laser. Image quality: blurred.", PACK)
    assert [s.visible for s in report.sentences] == [False, True, False, True]
    assert "under 'History'" in report.sentences[0].why
    assert report.text_for(visible_only=True) == "drusen. blurred."
    assert report.text_for() == "cataract. drusen. laser. blurred."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No abnormality detected.", True),
        ("no  abnormality   DETECTED", True),
        ("Please correlate clinically.", True),
        ("Drusen detected.", False),
        ("No abnormality detected in the right eye.", False),
    ],
)
def test_boilerplate(text: str, expected: bool) -> None:
    (sentence,) = parse_report(text, PACK).sentences
    assert sentence.boilerplate is expected
    assert ("template" in sentence.why) is expected


@pytest.mark.parametrize(
    ("text", "eye", "expected"),
    [
        ("cataract, drusen, lens dust", None, "cataract, drusen, lens dust"),
        ("cataract，drusen", None, "cataract，drusen"),
        ("OD normal, OS drusen", None, "OD normal, OS drusen"),
        ("OD normal and OS drusen", None, "OD normal and OS drusen"),
        ("OD normal, OS drusen", OS, "OS drusen"),
        ("- drusen\n- cataract", None, "drusen cataract"),
        ("Drusen. Cataract.", None, "Drusen. Cataract."),
    ],
)
def test_text_keeps_the_commas_of_lists(text: str, eye: Laterality | None, expected: str) -> None:
    assert parse_report(text, PACK).text_for(eye) == expected


def test_copied_forward() -> None:
    visits = [
        "Soft drusen in the right eye. Clear. C/D ratio is 0.4 today.",
        "soft drusen in  right eye! Clear. C/D ratio is 0.5 today. No haemorrhage in either eye.",
        "Soft drusen in the right eye. No haemorrhagge in either eye. No haemorrhage in the left eye.",
    ]
    assert copied_forward(visits) == ((False,) * 3, (True, False, False, False), (True, True, False))
    assert copied_forward([]) == ()
    assert copied_forward(["", "Drusen."]) == ((), (False,))


def test_copies_align_with_the_sentences_of_the_parser() -> None:
    for text in ("OD normal, OS drusen", "Findings: cataract, drusen. Impression: OD: clear. Plan: none.", ""):
        report = parse_report(text, PACK)
        assert sentence_places(text) == tuple((s.start, s.end) for s in report.sentences)
        assert [len(row) for row in copied_forward([text, text])] == [len(report.sentences)] * 2


def test_filler_words_within_a_phrase_and_nothing_else() -> None:
    pack = load_pack("cxr")
    found = {
        text: [(m.finding, m.status) for m in parse_report(text, pack).mentions]
        for text in (
            "The heart size is mildly enlarged.",
            "The heart is not enlarged.",
            "Heart normal, liver enlarged.",
        )
    }
    assert list(found.values()) == [[("cardiomegaly", "present")], [], []]


def test_a_differential_goes_over_commas() -> None:
    pack = load_pack("cxr")
    report = parse_report("Differential diagnosis including pneumonia, atelectasis, pulmonary edema.", pack)
    assert [m.status for m in report.mentions] == ["uncertain"] * 3


def test_a_heading_within_a_sentence_ends_a_denial() -> None:
    report = parse_report("Pressure not obtainable today REFERRING DIAGNOSIS: drusen", PACK)
    assert [m.status for m in report.mentions] == ["present"]
    report = parse_report("Negative for the following: drusen, cataract", PACK)
    assert [m.status for m in report.mentions] == ["absent", "absent"]
