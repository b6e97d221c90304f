"""The parser against real public texts; numbers only, no sentence of them is kept here."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

from tapetum.core.errors import UsageError
from tapetum.knowledge import load_pack, parse_report, status_at

DATA = Path(os.environ.get("TAPETUM_DATA", str(Path(__file__).resolve().parents[2] / "../shared/data")))
PACK = load_pack("fundus")


def _real(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / folder).exists(), reason=f"no {folder} in TAPETUM_DATA ({DATA})")


@pytest.mark.real
@_real("negex")
def test_negation_agrees_with_the_annotators() -> None:
    with (DATA / "negex/sentences.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    both = said = gold = right = measured = 0
    for row in rows:
        concept = row["Concept"].strip()
        place = row["Sentence"].rfind(concept.upper())
        if place < 0:
            continue
        denied = status_at(row["Sentence"], place, place + len(concept)).status == "absent"
        truth = row["Negation"] == "Negated"
        measured, right = measured + 1, right + (denied == truth)
        both, said, gold = both + (denied and truth), said + denied, gold + truth
    assert measured > 1500
    assert right / measured > 0.98
    assert both / said > 0.95
    assert both / gold > 0.96


@pytest.mark.real
@_real("odir")
def test_every_keyword_of_odir_is_known() -> None:
    with (DATA / "odir/pairs.csv").open(encoding="utf-8", newline="") as stream:
        texts = {row["keywords"] for row in csv.DictReader(stream)}
    parts = {part.strip() for text in texts for part in re.split("[,，]", text)}
    unknown: set[str] = set()
    for part in parts:
        mentions = parse_report(part, PACK).mentions
        assert len(mentions) == 1, part
        try:
            assert PACK.resolve(part) == mentions[0].finding
            assert mentions[0].status == "present"
        except UsageError:
            unknown.add(part)
    # Doubt is a status and no name: the one part that resolves to nothing is read as an uncertain finding.
    assert len(unknown) == 1
    assert [m.status for part in unknown for m in parse_report(part, PACK).mentions] == ["uncertain"]
    for text in texts:
        assert len(parse_report(text, PACK).mentions) == len(re.split("[,，]", text)), text
