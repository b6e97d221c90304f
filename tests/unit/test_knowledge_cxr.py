"""The chest X-ray pack and its measure: index terms never reach the parser; the figures on the public sets."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tapetum.core.types import Laterality
from tapetum.knowledge import load_pack, parse_report
from tapetum.knowledge.page import pack_page

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPETUM_DATA", str(ROOT / "../shared/data")))
PACK = load_pack("cxr")


def _measure(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"measure_{name}", ROOT / f"recipes/measures/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FILE = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR0"/><title>{planted}</title><note>{planted}</note>
<MedlineCitation><Article><ArticleTitle>{planted}</ArticleTitle><Abstract>
<AbstractText Label="COMPARISON">{planted}</AbstractText><AbstractText Label="INDICATION">{planted}</AbstractText>
<AbstractText Label="FINDINGS">The heart is enlarged. No effusion.</AbstractText>
<AbstractText Label="IMPRESSION">Left basilar atelectasis.</AbstractText></Abstract></Article></MedlineCitation>
<MeSH><major>{planted}</major><automatic>{planted}</automatic></MeSH><parentImage id="a"><caption>{planted}</caption>
<AbstractText Label="FINDINGS">{planted}</AbstractText></parentImage></eCitation>"""


def test_index_terms_never_reach_the_parser() -> None:
    module = _measure("cxr_findings")
    plain = module.read_text(FILE.format(planted="").encode())
    assert plain == ("CXR0", "FINDINGS: The heart is enlarged. No effusion.\nIMPRESSION: Left basilar atelectasis.")
    for term in ("Pneumothorax/left", "Pneumonia", "Nodule/multiple", "Pulmonary Fibrosis", "normal"):
        assert module.read_text(FILE.format(planted=term).encode()) == plain
    assert module.said(parse_report(plain[1], PACK)) == {"cardiomegaly", "atelectasis"}


def test_a_planted_term_would_be_seen_if_it_were_read() -> None:
    module = _measure("cxr_findings")
    text = FILE.replace("No effusion.", "No effusion. {planted}.").format(planted="Pneumothorax").encode()
    assert "pneumothorax" in module.said(parse_report(module.read_text(text)[1], PACK))


def test_the_thirteen_findings_are_in_the_pack() -> None:
    module = _measure("cxr_findings")
    assert len(module.FINDINGS) == 13
    assert all(PACK.finding(name).level in {"disease", "sign"} for name in module.FINDINGS.values())
    assert "Hernia" not in module.FINDINGS


CASES: dict[str, list[str]] = {
    "The heart is mildly enlarged. No pleural effusion or pneumothorax.": [
        "cardiomegaly present mild",
        "pleural_effusion absent",
        "pneumothorax absent",
    ],
    "Negative for pneumothorax, pleural effusion.": ["pneumothorax absent", "pleural_effusion absent"],
    "Borderline heart size. Mildly tortuous aorta.": [
        "borderline_cardiomegaly present",
        "aortic_tortuosity present mild",
    ],
    "Subsegmental atelectasis versus early pneumonia.": ["linear_atelectasis present", "pneumonia uncertain early"],
    "The right hemithorax is clear.": [],
    "No mass effect; no body mass index given.": [],
    "Blunting could be secondary to a small effusion.": ["costophrenic_blunting present", "pleural_effusion uncertain"],
    "COPD with emphysematous changes.": ["copd present", "emphysema present"],
    "No cardiomegaly with bilateral pleural effusions.": ["cardiomegaly absent", "pleural_effusion present"],
}


@pytest.mark.parametrize("text", CASES)
def test_reports(text: str) -> None:
    found = parse_report(text, PACK, language="en").mentions
    assert [" ".join(filter(None, (m.finding, m.status, m.severity))) for m in found] == CASES[text]
    assert {m.laterality for m in found} <= {Laterality.NOT_PAIRED}


def test_a_chest_has_no_eyes_and_its_sections_are_known() -> None:
    text = "COMPARISON: None.\nINDICATION: cough, ?pneumonia\n"
    text += "FINDINGS: Right effusion, left effusion.\nIMPRESSION: Effusion."
    report = parse_report(text, PACK)
    assert [s.kind for s in report.sections] == ["comparison", "indication", "findings", "impression"]
    assert [m.status for m in report.mentions] == ["uncertain", "present", "present", "present"]
    assert report.present() == report.present(Laterality.NOT_PAIRED) == {"pleural_effusion"}
    assert report.text_for(Laterality.NOT_PAIRED, visible_only=True) == "Right effusion, left effusion. Effusion."


def test_templates_of_the_pack() -> None:
    report = parse_report("The lungs are clear. The heart size is normal. There is a nodule.", PACK)
    assert [s.boilerplate for s in report.sentences] == [True, True, False]


def test_the_committed_page_is_the_packs_own() -> None:
    assert (ROOT / "docs/reference/cxr-pack.md").read_text(encoding="utf-8") == pack_page(PACK)


def test_the_measures_halves_and_scores() -> None:
    module = _measure("cxr_findings")
    # By `printf CXR1 | sha1sum` and so on the last digits are f, e and 6.
    assert [module.odd(name) for name in ("CXR1", "CXR2", "CXR3")] == [True, False, False]
    assert module.f1(3, 4, 6) == pytest.approx((0.75, 0.5, 0.6))


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "openi").exists(), reason=f"no openi in TAPETUM_DATA ({DATA})")
def test_findings_of_the_half_never_looked_at() -> None:
    module = _measure("cxr_findings")
    truth = module.gold(DATA)
    both = ours = theirs = 0
    for name, text in module.reports(DATA):
        if name in truth and module.odd(name):
            stated = module.said(parse_report(text, PACK, language="en"))
            both, ours, theirs = both + len(stated & truth[name]), ours + len(stated), theirs + len(truth[name])
    assert theirs > 400
    assert 2 * both / (ours + theirs) >= 0.86


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "negex").exists(), reason=f"no negex in TAPETUM_DATA ({DATA})")
def test_negation_beats_its_peer_on_the_odd_half() -> None:
    module = _measure("negation")
    rows = [row for row in module.sentences(DATA) if module.odd(row[0])]
    assert len(rows) > 600
    ours, peer = (module.scores(rows, denies)[2] for denies in (module.tapetum, module.negex))
    assert ours >= 0.96
    assert ours > peer


def test_the_peer_of_the_negation_measure() -> None:
    module = _measure("negation")
    text = "no fever but chills; edema was ruled out"
    places = {word: (text.index(word), text.index(word) + len(word)) for word in ("fever", "chills", "edema")}
    assert [module.negex(text, *place) for place in places.values()] == [True, False, True]
