"""Identifiers in the public `phi_text/` texts: recall and precision by overlap of spans, on halves by the text's SHA-1.

TAPETUM_DATA=../shared/data python recipes/measures/phi_text.py [even|odd]

A marked span is found where a span of the same kind overlaps it; a span is right where it overlaps a marked one of its
kind. The even half was looked at while the rules were written; the odd half was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.archive.deidentify.text import Span, find_identifiers

KINDS: Mapping[str, tuple[str, float, float]] = {
    "PHONE_NUMBER": ("PHONE", 0.97, 0.90),
    "DATE_TIME": ("DATE", 0.97, 0.90),
    "EMAIL_ADDRESS": ("EMAIL", 0.97, 0.90),
    "IBAN_CODE": ("IBAN", 0.97, 0.90),
    "CREDIT_CARD": ("CARD", 0.97, 0.90),
    "US_SSN": ("SSN", 0.97, 0.90),
    "IP_ADDRESS": ("IP", 0.97, 0.90),
    "DOMAIN_NAME": ("URL", 0.97, 0.90),
    "PERSON": ("PERSON", 0.85, 0.80),
    "STREET_ADDRESS": ("ADDRESS", 0.0, 0.0),
    "ZIP_CODE": ("ADDRESS", 0.0, 0.0),
    "US_DRIVER_LICENSE": ("ID", 0.0, 0.0),
}


def half_of(text: str) -> str:
    """`even` or `odd`, by the SHA-1 of the text."""
    return "odd" if int(hashlib.sha1(text.encode()).hexdigest(), 16) % 2 else "even"


def counts(
    records: Sequence[Mapping[str, Any]], found: Sequence[tuple[Span, ...]], kind: str
) -> tuple[int, int, int, int]:
    """Marked, marked and found, given, given and right."""
    marked = hit = given = right = 0
    for record, spans in zip(records, found, strict=True):
        truth = [
            (mark["start_position"], mark["end_position"])
            for mark in record["spans"]
            if KINDS.get(mark["entity_type"], ("",))[0] == kind
        ]
        mine = [(span.start, span.end) for span in spans if span.kind == kind]
        marked, given = marked + len(truth), given + len(mine)
        hit += sum(any(a < end and start < b for a, b in mine) for start, end in truth)
        right += sum(any(a < end and start < b for a, b in truth) for start, end in mine)
    return marked, hit, given, right


def measure(data: Path, half: str = "odd") -> str:
    """A table of one half.

    Args:
        data: folder with `phi_text/`.
        half: `odd`, which nobody looked at, or `even`.
    """
    everything = json.loads((data / "phi_text" / "synth_dataset_v2.json").read_text("utf-8"))
    records = [record for record in everything if half_of(record["full_text"]) == half]
    find_identifiers("")
    start = time.process_time()
    found = [find_identifiers(record["full_text"]) for record in records]
    seconds = time.process_time() - start
    bars = {kind: (recall, precision) for kind, recall, precision in KINDS.values()}
    lines = [
        "## Identifiers in free text",
        "",
        f"`phi_text/`, {half} half by SHA-1 of the text: {len(records)} of {len(everything)} texts. The rules were "
        "written on the even half; no text of the odd half was looked at, "
        "only its table, printed several times between repairs that other tests had asked for. No name is given to "
        "the finder. The set's "
        "generator may have drawn from name lists that the lexicon's source knows as well.",
        "",
        "| kind | marked | found | recall | given | right | precision | aim |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for kind, (recall, precision) in bars.items():
        marked, hit, given, right = counts(records, found, kind)
        aim = f"≥ {recall:.2f} at ≥ {precision:.2f}" if recall else "–"
        r, p = (f"{hit / marked:.3f}" if marked else "–"), (f"{right / given:.3f}" if given else "–")
        lines.append(f"| {kind} | {marked} | {hit} | {r} | {given} | {right} | {p} | {aim} |")
    command = "python recipes/measures/phi_text.py" + ("" if half == "odd" else f" {half}")
    lines += ["", f"`{command}`, {seconds:.1f} s of one core, {len(records) / seconds:.0f} texts/s."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(measure(Path(os.environ.get("TAPETUM_DATA", "../shared/data")), *sys.argv[1:2]))
