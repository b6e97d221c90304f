"""Chest X-ray findings on the public Open-i reports: micro-F1 against the gold findings, from the reports' words alone.

TAPETUM_DATA=../shared/data python recipes/measures/cxr_findings.py

The gold was made from index terms that stand in the same XML file, so nothing but the text of the sections FINDINGS and
IMPRESSION may reach the parser (`read_text`; a test plants index terms and sees no difference).
"""

from __future__ import annotations

import csv
import hashlib
import os
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from tapetum.knowledge import ParsedReport, load_pack, parse_report

# The gold's name → the pack's finding; Hernia is never marked in the gold.
FINDINGS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "pleural_effusion",
    "Infiltration": "infiltrate",
    "Mass": "lung_mass",
    "Nodule": "pulmonary_nodule",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Edema": "pulmonary_oedema",
    "Emphysema": "emphysema",
    "Fibrosis": "pulmonary_fibrosis",
    "Pleural_Thickening": "pleural_thickening",
}
SECTIONS = ("FINDINGS", "IMPRESSION")
PACK = load_pack("cxr")


def read_text(xml: bytes) -> tuple[str, str]:
    """The report's id and its two sections with their headings; no other element of the file is looked at."""
    root = ElementTree.fromstring(xml)
    name = root.find("uId")
    parts = [
        f"{part.get('Label')}: {(part.text or '').strip()}"
        for part in root.iterfind("./MedlineCitation/Article/Abstract/AbstractText")
        if part.get("Label") in SECTIONS
    ]
    return (name.get("id", "") if name is not None else ""), "\n".join(parts)


def reports(data: Path) -> Iterator[tuple[str, str]]:
    """Id and text of every report of the archive."""
    with tarfile.open(data / "openi/NLMCXR_reports.tgz") as archive:
        for member in archive:
            if member.name.endswith(".xml") and (stream := archive.extractfile(member)) is not None:
                yield read_text(stream.read())


def gold(data: Path) -> dict[str, frozenset[str]]:
    """Report id → the pack's findings that the index marks."""
    with (data / "openi/gold_findings.csv").open(encoding="utf-8", newline="") as stream:
        return {
            row["filename"]: frozenset(finding for name, finding in FINDINGS.items() if row[name] == "1")
            for row in csv.DictReader(stream)
        }


def said(report: ParsedReport) -> frozenset[str]:
    """The gold's findings that the report states."""
    return PACK.closure(report.present()) & frozenset(FINDINGS.values())


def odd(key: str) -> bool:
    """Whether the SHA-1 of a key is odd: the half that is not tuned on."""
    return int(hashlib.sha1(key.encode()).hexdigest(), 16) % 2 == 1


def reason(report: ParsedReport, finding: str) -> str:
    """Why text and index disagree on a finding that the index marks and the parser does not state."""
    below = {finding, *PACK.descendants(finding)}
    statuses = {mention.status for mention in report.mentions if mention.finding in below}
    if not statuses:
        return "marked, but not named in the text"
    return "marked, doubted in the text" if "uncertain" in statuses else "marked, denied in the text"


def f1(both: int, ours: int, theirs: int) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    return both / max(ours, 1), both / max(theirs, 1), 2 * both / max(ours + theirs, 1)


def measure(data: Path) -> str:
    """The section of the results page.

    Args:
        data: folder of the public data sets.
    """
    start = time.process_time()
    truth = gold(data)
    rows = [(name, text, truth[name]) for name, text in reports(data) if name in truth]
    lines = ["### Chest X-ray findings from report text (`openi/`)", ""]
    for title, wanted in (("odd", True), ("even", False)):
        half = [row for row in rows if odd(row[0]) == wanted]
        lines += _half(title, half)
    lines += [
        "Gold: index terms of the same reports; read are the sections FINDINGS and IMPRESSION only.",
        f"Halves by SHA-1 of the report's id; tuned on the even half only. {len(rows)} reports, "
        "`python recipes/measures/cxr_findings.py`, "
        f"{time.process_time() - start:.1f} s of CPU.",
    ]
    return "\n".join(lines) + "\n"


def _half(title: str, rows: list[tuple[str, str, frozenset[str]]]) -> list[str]:
    both, ours, theirs = Counter[str](), Counter[str](), Counter[str]()
    why: Counter[str] = Counter()
    for _, text, marked in rows:
        report = parse_report(text, PACK, language="en")
        stated = said(report)
        both.update(stated & marked)
        ours.update(stated)
        theirs.update(marked)
        why.update(reason(report, finding) for finding in marked - stated)
        why.update("stated, but not marked" for _ in stated - marked)
    lines = [f"Half *{title}* (n = {len(rows)} reports)", "", *_table(both, ours, theirs), ""]
    lines += ["Text and index disagree: " + "; ".join(f"{name}: {n}" for name, n in why.most_common()) + ".", ""]
    return lines


def _table(both: Mapping[str, int], ours: Mapping[str, int], theirs: Mapping[str, int]) -> Iterator[str]:
    yield "| finding | marked | precision | recall | F1 |"
    yield "|---|---:|---:|---:|---:|"
    for name, finding in FINDINGS.items():
        p, r, f = f1(both[finding], ours[finding], theirs[finding])
        yield f"| {name} | {theirs[finding]} | {p:.3f} | {r:.3f} | {f:.3f} |"
    p, r, f = f1(sum(both.values()), sum(ours.values()), sum(theirs.values()))
    yield f"| **micro** | {sum(theirs.values())} | {p:.3f} | {r:.3f} | **{f:.3f}** |"


if __name__ == "__main__":
    print(measure(Path(os.environ.get("TAPETUM_DATA", "../shared/data"))))
