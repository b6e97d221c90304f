"""The report parser against a straightforward NegEx with regular expressions, interleaved in one run, one core.

python benchmarks/report_parser.py [rounds]

The peer splits a report at full stops, searches every term of the pack on its own and looks for a trigger phrase within
five words; it finds polarity only: no sections, eyes, doubt, severity, change or reasons. medspacy and negspacy, the
usual libraries, are not installed here and are not measured. The parser remembers sentences it has read and what is no
row of a form; both memories are emptied before each round, so "cold" counts a sentence as known only where the reports
repeat it; what is remembered of single words, of headings, of the last letters of lines and sentences and of short runs
of the pack's words ("mild NPDR") stays. "warm" is a second pass.
The bar is for reports as clinics write them (the phantom clinic's, and the real ones of Open-i). The generated ones, in
which hardly a sentence repeats, show what a new sentence costs, and are below it.
With TAPETUM_DATA the public Open-i reports are read too.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tapetum.knowledge import Pack, load_pack, parse_report
from tapetum.knowledge.forms import REFUSED
from tapetum.knowledge.statement import understand
from tapetum.phantom.grading import diagnose
from tapetum.phantom.people import draw_patient, eye_at
from tapetum.phantom.reports import write_report
from tapetum.phantom.statement import Seen

REPORTS, BAR = 1000, 2000
_BEFORE = re.compile(
    r"\b(?:no evidence of|no sign of|no|not|without|denies|absence of|free of|negative for|resolved)\b"
)
_AFTER = re.compile(r"\b(?:was ruled out|is ruled out|not seen|absent|resolved|is excluded)\b")
_FRAMES = (
    "There is {grade} {a} in the {place}.",
    "No {a} or {b} is seen.",
    "{a}, measuring {number} mm, with adjacent {b}.",
    "Possible {a} {place}, {b} cannot be excluded.",
    "{grade} {a}, unchanged since the last visit; no new {b}.",
    "The {place} is flat and well perfused.",
)


def generated(pack: Pack, count: int) -> list[str]:
    """Reports of six to ten sentences of the pack's names; places and numbers make nearly every sentence unique."""
    rng = random.Random(0)
    names = [finding.name for finding in pack.findings.values() if finding.level not in {"modality", "group", "status"}]
    places = [
        f"{a} {b}" for a in ("upper", "lower", "nasal", "temporal", "central") for b in ("field", "region", "area")
    ]

    def sentence() -> str:
        frame = rng.choice(_FRAMES).format(
            a=rng.choice(names),
            b=rng.choice(names),
            grade=rng.choice(("mild", "moderate", "severe", "early")),
            place=f"{rng.choice(places)} {rng.randint(1, 99)}",
            number=rng.randint(1, 900),
        )
        return frame[0].upper() + frame[1:]

    def report() -> str:
        sides = ("OD", "OS") if pack.paired else ("Findings", "Comparison")
        half = [" ".join(sentence() for _ in range(rng.randint(3, 5))) for _ in sides]
        return "\n".join(f"{side}: {text}" for side, text in zip(sides, half, strict=True))

    return [report() for _ in range(count)]


def written(count: int) -> list[str]:
    """The phantom clinic's reports, a fifth of their sentences mistyped; they repeat themselves as a clinic's do."""
    found: list[str] = []
    for number in range(1, count + 1):
        patient = draw_patient(np.random.default_rng([7, number]), number, ("cam_a",))
        eyes = [eye_at(patient, side, 0, np.random.default_rng([7, number, side])) for side in (0, 1)]
        seen = [Seen(eye, diagnose(eye.signs, dict.fromkeys(eye.signs, 5), (3,) * 4, eye.cup_ratio)) for eye in eyes]
        found.append(write_report(patient, seen, np.random.default_rng([7, number, 9]), noise=0.2).text)
    return found


def open_i(data: Path) -> list[str]:
    """The sections of the public chest X-ray reports, where they are at hand."""
    file = data / "openi/NLMCXR_reports.tgz"
    if not file.exists():
        return []
    found: list[str] = []
    with tarfile.open(file) as archive:
        for member in archive:
            if member.name.endswith(".xml") and (stream := archive.extractfile(member)) is not None:
                parts = ElementTree.fromstring(stream.read()).iterfind(".//AbstractText")
                found.append("\n".join(f"{part.get('Label')}: {part.text or ''}" for part in parts))
    return found


def negex(pack: Pack) -> Callable[[str], list[tuple[str, bool]]]:
    """The peer for a pack: finding and whether it is denied."""
    terms = [
        (finding.id, re.compile(rf"\b{re.escape(term.lower())}s?\b"))
        for finding in pack.findings.values()
        if finding.level not in {"modality", "group"}
        for term in dict.fromkeys((finding.name, *finding.synonyms.get("en", ()), *finding.variants))
    ]

    def parse(text: str) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        for sentence in re.split(r"(?<=[.!?;])\s|\n", text.lower()):
            for name, term in terms:
                for match in term.finditer(sentence):
                    before = [
                        len(sentence[m.end() : match.start()].split())
                        for m in _BEFORE.finditer(sentence[: match.start()])
                    ]
                    after = [
                        len(sentence[match.end() : m.start()].split()) for m in _AFTER.finditer(sentence, match.end())
                    ]
                    found.append((name, any(gap <= 5 for gap in (*before, *after))))
        return found

    return parse


def per_second(parse: Callable[[str], object], reports: Sequence[str]) -> float:
    """Reports in a second of CPU time."""
    start = time.process_time()
    for text in reports:
        parse(text)
    return len(reports) / (time.process_time() - start)


def main(rounds: int) -> int:
    """Print one line per kind of report; 1 where a cold pass over a clinic's reports is slower than the bar."""
    data = Path(os.environ.get("TAPETUM_DATA", "../shared/data"))
    kinds = [
        (f"generated, {name} pack", load_pack(name), generated(load_pack(name), REPORTS)) for name in ("fundus", "cxr")
    ]
    kinds.insert(0, ("phantom clinic, fundus pack", load_pack("fundus"), written(4 * REPORTS)))
    kinds += [("Open-i, cxr pack", load_pack("cxr"), real)] if (real := open_i(data)) else []
    slowest = float("inf")
    for title, pack, reports in kinds:
        peer = negex(pack)
        cold, warm, other = list[float](), list[float](), list[float]()
        parse_report(reports[0], pack)
        for _ in range(rounds):
            understand.cache_clear()
            REFUSED.clear()
            cold.append(per_second(lambda text, pack=pack: parse_report(text, pack), reports))
            warm.append(per_second(lambda text, pack=pack: parse_report(text, pack), reports))
            other.append(per_second(peer, reports[:: max(1, len(reports) // 100)]))
        ours, theirs = statistics.median(cold), statistics.median(other)
        slowest = slowest if title.startswith("generated") else min(slowest, ours)
        length = statistics.mean(map(len, reports))
        print(
            f"{title}: {len(reports)} reports of {length:.0f} characters; "
            f"cold {ours:,.0f}/s, warm {statistics.median(warm):,.0f}/s, "
            f"regex NegEx {theirs:,.0f}/s, ratio {ours / theirs:.1f}"
        )
    print(f"bar: {BAR:,} of a clinic's reports/s on one core; CPU time, median of {rounds} rounds")
    return int(slowest < BAR)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
