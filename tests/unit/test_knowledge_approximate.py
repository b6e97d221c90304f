"""Loose terms: what is found in other words, and what must not be."""

from __future__ import annotations

import pytest

from tapetum.knowledge import load_pack, parse_report
from tapetum.knowledge.approximate import Approximate, definitions, stem
from tapetum.knowledge.mentions import lexicon
from tapetum.knowledge.phrases import words

PACK = load_pack("fundus")
LOOSE = {
    "No haemorrhges, cotton wool sptos.": ["retinal_haemorrhage absent", "cotton_wool_spot absent"],
    "Atrophy of the geographic type.": ["geographic_atrophy present"],
    "possible epiretinal membr.": ["epiretinal_membrane uncertain"],
    "prolif diabetic retinop": ["proliferative_dr present"],
    "no flame h'rrhages": ["flame_haemorrhage absent"],
    "narrowing of arterioles": ["arteriolar_narrowing present"],
    "Drusen, exudates hard": ["drusen present", "hard_exudate present"],
    "microaneurysmal changes": ["microaneurysm present"],
}


@pytest.mark.parametrize("text", LOOSE)
def test_found_in_other_words(text: str):
    assert [f"{m.finding} {m.status}" for m in parse_report(text, PACK, language="en").mentions] == LOOSE[text]


@pytest.mark.parametrize(
    "text",
    [
        "Vessels of regular calibre.",
        "Optic disc pink, margins sharp.",
        "Blood pressure 130/80, retina attached.",
        "Macula flat.",
        "Complains of blurred vision.",
        "Known diabetes and hypertension.",
        "Cup to disc ratio 0.4.",
        "Myopic patient, old spectacles.",
    ],
)
def test_not_found(text: str):
    assert not parse_report(text, PACK, language="en").mentions


def test_a_longer_loose_term_takes_in_a_shorter_exact_one():
    mentions = parse_report("Haemorrhages of flame shape in the right eye.", PACK, language="en").mentions
    assert [m.finding for m in mentions] == ["flame_haemorrhage"]


def test_words_that_state_nothing_keep_their_place():
    loose = Approximate([("macular hole", "macular_hole")])
    found = words("hole of the macula")
    assert [h.value for h in loose.merge(found, [])] == ["macular_hole"]
    from tapetum.knowledge.phrases import Hit

    assert loose.merge(found, [Hit(0, 1, "")]) == [Hit(0, 1, "")]


def test_stems():
    for one, two in (
        ("narrowing", "narrowed"),
        ("atrophic", "atrophy"),
        ("occluded", "occlusion"),
        ("swollen", "swelling"),
    ):
        assert stem(one) == stem(two)
    assert stem("choroid") != stem("chorea")


def test_abbreviations_of_the_report_itself():
    text = "Right eye: hard exudates (HdX), drusen. Left eye: no HdX. Seen by Dr Hdx."
    report = parse_report(text, PACK, language="en")
    assert [(m.finding, m.status, m.laterality.value) for m in report.mentions] == [
        ("hard_exudate", "present", "OD"),
        ("drusen", "present", "OD"),
        ("hard_exudate", "absent", "OS"),
    ]
    assert not parse_report("Left eye: no HdX.", PACK, language="en").mentions


def test_brackets_that_define_nothing():
    find = lexicon(PACK).find
    assert definitions("Drusen (mild). Cataract (OD).", find) == ()
    assert definitions("macular hole (McH)", find) == (("McH", "macular_hole"),)
    assert definitions("seen in clinic (MacC)", find) == ()
