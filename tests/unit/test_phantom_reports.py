"""Authors of phantom reports: truth of every sentence, the same bytes, and vocabulary that no pack lists."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality
from tapetum.knowledge import load_pack
from tapetum.knowledge.phrases import words
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.phantom.grading import diagnose
from tapetum.phantom.people import Patient, draw_patient, eye_at
from tapetum.phantom.phrases import DENIED, IMPLIED, NAMES
from tapetum.phantom.reports import AUTHORS, WRITERS, write_report
from tapetum.phantom.statement import Report, Seen
from tapetum.phantom.words_chinese import NAMES as CHINESE
from tapetum.phantom.words_spanish import NAMES as SPANISH
from tapetum.phantom.words_spanish import enumerated
from tapetum.phantom.words_unseen import UNSEEN, mistyped, typed

STYLES = AUTHORS.names()


def visits(patients: int, seed: int = 7) -> Iterator[tuple[int, Patient, list[Seen]]]:
    for k in range(1, patients + 1):
        patient = draw_patient(np.random.default_rng([seed, k, 0]), k, ("cam_a",))
        eyes: list[Seen] = []
        for side in range(2):
            eye = eye_at(patient, side, 0, np.random.default_rng([seed, k, 1, side]), degraded=3.0)
            counts = {name: max(1, round(9 * severity)) for name, severity in eye.signs.items()}
            eyes.append(Seen(eye, diagnose(eye.signs, counts, (0, 0, 0, 0), eye.cup_ratio)))
        yield k, patient, eyes


def report(k: int, patient: Patient, eyes: list[Seen], style: str, omission: float = 0.0) -> Report:
    change = ("", "same", "worse")[k % 3]
    rng = np.random.default_rng([7, k, 9])
    return write_report(patient, eyes, rng, noise=0.3, omission=omission, change=change, style=style)


def test_the_plain_styles_keep_their_bytes():
    digest = hashlib.sha256()
    for k, patient, eyes in visits(120):
        plain = report(k, patient, eyes, "", omission=0.1)
        digest.update(plain.text.encode())
        said = [(s.text, [(f.eye.value, f.finding, f.status) for f in s.facts], s.visible) for s in plain.sentences]
        digest.update(repr(said).encode())
    # Taken from the version before there were other styles.
    assert digest.hexdigest() == "f0425a976339265b228323573d0b23e2b8b2a3a8d5732917cd014e23b3e11f7e"


@pytest.mark.parametrize("style", STYLES)
def test_a_style_says_what_is_true_and_all_of_it(style: str):
    for k, patient, eyes in visits(60):
        written = report(k, patient, eyes, style)
        assert written == report(k, patient, eyes, style)
        assert written.style == style
        for sentence in written.sentences:
            assert sentence.text in written.text
            assert sentence.visible or not sentence.facts
        said: dict[Laterality, dict[str, str]] = {Laterality.RIGHT: {}, Laterality.LEFT: {}}
        for fact in (fact for sentence in written.sentences for fact in sentence.facts):
            for eye in (fact.eye,) if fact.eye in said else tuple(said):
                assert said[eye].setdefault(fact.finding, fact.status) == fact.status
        for seen in eyes:
            claims, true = said[seen.eye.laterality], set(seen.findings)
            omitted = set(IMPLIED)
            if "branch_retinal_vein_occlusion" in true:
                omitted |= {"flame_haemorrhage", "dot_blot_haemorrhage"}
            assert true - omitted <= {n for n, status in claims.items() if status != "absent"}
            assert {n for n, status in claims.items() if status == "present"} <= true | {"low_image_quality"}
            assert not {n for n, status in claims.items() if status == "absent"} & true
            assert seen.eye.quality != "good" or "low_image_quality" not in claims


@pytest.mark.parametrize("style", STYLES)
def test_omission_leaves_signs_out(style: str):
    for k, patient, eyes in visits(15):
        facts = [fact for s in report(k, patient, eyes, style, omission=1.0).sentences for fact in s.facts]
        assert {f.finding for f in facts if f.status == "present"} <= {"normal_fundus", "low_image_quality"}


def test_unseen_words_stand_in_no_pack():
    """Neither as a term nor with a term of the same finding inside: a pack that learns them would spoil the measure."""
    terms = {
        (tuple(w.key for w in words(term)), finding.id)
        for name in ("fundus", "cxr")
        for finding in load_pack(name).findings.values()
        for term in finding.terms()
    }
    whole = {keys for keys, _ in terms}
    for finding, groups in UNSEEN.items():
        for text in (*groups[0], *groups[1]):
            keys = tuple(w.key for w in words(text))
            assert keys not in whole, text
            parts = {keys[a:b] for a in range(len(keys)) for b in range(a + 1, len(keys) + 1)}
            assert not any((part, finding) in terms for part in parts), text


def test_every_language_has_words_for_every_finding():
    spoken = set(NAMES) - {"normal_fundus", "age_related_macular_degeneration"}
    assert spoken <= set(UNSEEN)
    assert spoken <= set(SPANISH)
    assert spoken <= set(CHINESE)
    assert set(DENIED) <= spoken
    pack = load_pack("fundus")
    for language, names in (("es", SPANISH), ("zh", CHINESE)):
        for finding, terms in names.items():
            known = {tuple(w.key for w in words(t, language=language)) for t in pack.finding(finding).terms()}
            for term in terms:
                assert tuple(w.key for w in words(term, language=language)) in known, term


def test_slips_of_the_keyboard():
    rng = np.random.default_rng(0)
    wrong = [mistyped("haemorrhage", rng) for _ in range(50)]
    assert all(word != "haemorrhage" and word[0] == "h" and abs(len(word) - 11) <= 1 for word in wrong if word)
    assert mistyped("spots", rng) == "spots"
    assert typed("No drusen seen.", rng, 0.0) == "No drusen seen."
    assert typed("haemorrhages, seen", np.random.default_rng(1), 1.0).endswith(", seen")


def test_spanish_lists():
    assert enumerated(["drusas", "impactos de láser"]) == "drusas e impactos de láser"
    assert enumerated(["drusas", "hemorragias"], " o ") == "drusas o hemorragias"
    assert enumerated(["microaneurismas"]) == "microaneurismas"


def test_a_clinic_writes_in_the_languages_asked_for(tmp_path: Path):
    config = ClinicConfig(patients=16, size=64, languages=("en", "es", "zh"), styles=("letter",))
    clinic = make_clinic(tmp_path / "c", config)
    with clinic.table.open(encoding="utf-8", newline="") as stream:
        texts = {row["report"] for row in csv.DictReader(stream)}
    assert any(text.startswith("Dear Doctor") for text in texts)
    assert any("右眼" in text or "双眼" in text for text in texts)
    assert any("ojo" in text for text in texts)
    assert "languages" in (clinic.path / "PHANTOM.md").read_text(encoding="utf-8")
    plain = make_clinic(tmp_path / "d", ClinicConfig(patients=1, size=64))
    assert "languages" not in (plain.path / "PHANTOM.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options", [{"languages": ("fr",)}, {"languages": ()}, {"styles": ("leter",)}, {"styles": ("spanish_notes",)}]
)
def test_unknown_languages_and_styles(options: dict[str, tuple[str, ...]]):
    with pytest.raises(UsageError):
        ClinicConfig(**options)  # pyright: ignore[reportArgumentType]


def test_writers_are_authors():
    assert {name for names in WRITERS.values() for name in names} <= set(STYLES)
