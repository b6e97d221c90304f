"""Spanish reports: finding, status, eye and severity by hand."""

from __future__ import annotations

import pytest

from tapetum.knowledge import load_pack, negated, parse_report
from tapetum.knowledge.rules import recognise

PACK = load_pack("fundus")
CASES = {
    "OD: RDNP moderada, exudados duros. OI: normal.": [
        "moderate_npdr present OD", "hard_exudate present OD", "normal_fundus present OS",
    ],
    "En el ojo derecho no se observan hemorragias ni exudados duros.": [
        "retinal_haemorrhage absent OD", "hard_exudate absent OD",
    ],
    "Sin retinopatía diabética en ambos ojos, catarata leve en OI.": [
        "diabetic_retinopathy absent OU", "cataract present OS",
    ],
    "No se puede descartar glaucoma en ojo izquierdo.": ["glaucoma uncertain OS"],
    "Ojo derecho: drusas. El ojo contralateral presenta un agujero macular.": [
        "drusen present OD", "macular_hole present OS",
    ],
    "Se descarta edema de papila.": ["optic_disc_swelling absent unknown"],
    "No se descarta edema de papila.": ["optic_disc_swelling uncertain unknown"],
    "El fondo del ojo izquierdo es normal.": ["normal_fundus present OS"],
    "Sin cambios en las drusas del ojo derecho.": ["drusen present OD"],
    "Papila excavada AO, no hay hemorragias en llama pero sí microaneurismas.": [
        "optic_disc_cupping present OU", "flame_haemorrhage absent OU", "microaneurysm present OU",
    ],
    "ANTECEDENTES: madre con glaucoma.\nDIAGNÓSTICO: RDP OD.": [
        "glaucoma uncertain unknown", "proliferative_dr present OD",
    ],
    "¿Membrana epirretiniana OI?": ["epiretinal_membrane uncertain OS"],
}  # fmt: skip


@pytest.mark.parametrize("text", CASES, ids=range(len(CASES)))
def test_spanish_reports(text: str):
    found = [f"{m.finding} {m.status} {m.laterality.value}" for m in parse_report(text, PACK, language="es").mentions]
    assert found == CASES[text]


def test_the_language_is_recognised_from_a_few_words():
    assert {recognise(text) for text in CASES} <= {"es", "en"}
    assert sum(recognise(text) == "es" for text in CASES) >= len(CASES) - 1
    assert recognise("OD: normal fundus, no haemorrhage. OS: drusen.") == "en"


def test_severity_stands_behind_its_noun():
    mentions = parse_report("Catarata moderada y retinopatía hipertensiva leve.", PACK, language="es").mentions
    assert [m.severity for m in mentions] == ["moderate", "mild"]


def test_accents_do_not_matter():
    assert (
        parse_report("retinopatia diabetica no proliferativa moderada en OD", PACK, language="es").mentions[0].finding
        == "moderate_npdr"
    )


def test_negation_alone():
    text = "Niega diabetes, presenta cataratas."
    assert negated(text, 6, 14, language="es")
    assert not negated(text, 25, 34, language="es")
