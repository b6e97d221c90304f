"""Scrub phantom reports: Tapetum against a plain loop of regular expressions, in one run on one core.

    python benchmarks/scrub.py

No free-text scrubber of the shelf installs without a language model; the peer is therefore the straightforward loop:
six common patterns and the patient's names, replaced one after another. It finds less; the ratio says what the rest
costs.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable

from tapetum.archive.deidentify import Key, Pseudonyms, scrub

ROUNDS, TEXTS = 5, 400
TEXT = (
    "Patient: QUXLEY^ANNA, DOB 14/06/1950, MRN H40{n:04d}. RE: moderate NPDR, no drusen.\n"
    "C/D 0.6, VA 6/9, IOP 18 mmHg.\n"
    "LE: normal fundus, VA 20/40. CRT 312 µm. Mrs Quxley "
    "was seen on 3 May 2021 by Dr. Halvorsen. Tel. 07700 900{n:03d}."
)
PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"[\w.+-]+@[\w-]+\.[\w.]+",
        r"https?://\S+",
        r"\b\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b",
        r"\b\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\w* \d{4}\b",
        r"\b0\d{4} \d{6}\b",
        r"\bH\d{6}\b",
        r"(?i)\b(?:quxley|anna)\b",
    )
]


def plain(text: str) -> str:
    """The peer."""
    for pattern in PATTERNS:
        text = pattern.sub("[X]", text)
    return text


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print one line."""
    pseudonyms = Pseudonyms(Key(bytes(range(32))))
    texts = [TEXT.format(n=n) for n in range(TEXTS)]
    given = {"name": "Quxley^Anna", "birth_date": "19500614"}

    def ours() -> None:
        for n, text in enumerate(texts):
            scrub(text, identifiers=given, patient_id=f"H40{n:04d}", pseudonyms=pseudonyms)

    ours()
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(seconds(ours))
        other.append(seconds(lambda: [plain(text) for text in texts]))
    a, b = statistics.median(mine), statistics.median(other)
    print(f"{TEXTS} reports  tapetum {TEXTS / a:7.0f} texts/s  plain loop {TEXTS / b:7.0f} texts/s  ratio {b / a:.3f}")


if __name__ == "__main__":
    main()
