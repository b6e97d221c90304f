"""Phantom reports: F1 of finding × eye × polarity for styles tuned on, styles never tuned on, and unseen vocabulary.

The truth is what the phantom's author meant by each sentence. A mention counts once for each eye of a report; both eyes
count as two, and so does a mention of no particular eye. Status is present, absent or uncertain. Phantom numbers: they
prove that the parser does what it should on invented reports and say nothing about medicine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tapetum.core.types import Laterality
from tapetum.knowledge import load_pack, parse_report
from tapetum.phantom.grading import diagnose
from tapetum.phantom.people import Patient, draw_patient, eye_at
from tapetum.phantom.reports import write_report
from tapetum.phantom.statement import Report, Seen

PATIENTS, SEED, NOISE = 300, 20261122, 0.2
# Group → (styles, the bar of the issue or NaN). `""` draws one of the four plain English styles.
GROUPS: dict[str, tuple[tuple[str, ...], float]] = {
    "plain styles, tuned on": (("",), float("nan")),
    "forms and tables, tuned on": (("eye_answers", "eye_columns"), float("nan")),
    "styles never tuned on": (("letter", "by_structure", "grading_form", "dictated"), 0.97),
    "unseen vocabulary": (("registrar", "longhand", "fast_typist"), 0.90),
    "Spanish, tuned on": (("spanish_notes",), float("nan")),
    "Spanish, never tuned on": (("spanish_letter",), float("nan")),
    "Chinese, tuned on": (("chinese_sections",), float("nan")),
    "Chinese, never tuned on": (("chinese_prose",), float("nan")),
}
Triple = tuple[str, str, str]
_EYES = {Laterality.RIGHT: ("OD",), Laterality.LEFT: ("OS",)}


def visits(patients: int = PATIENTS, seed: int = SEED) -> list[tuple[Patient, list[Seen]]]:
    """Patients with the findings of both eyes; counts of lesions follow from the severities, nothing is rendered."""
    found: list[tuple[Patient, list[Seen]]] = []
    for number in range(1, patients + 1):
        patient = draw_patient(np.random.default_rng([seed, number, 0]), number, ("cam_a",))
        eyes: list[Seen] = []
        for side in range(2):
            eye = eye_at(patient, side, 0, np.random.default_rng([seed, number, 1, side]))
            counts = {name: max(1, round(9 * severity)) for name, severity in eye.signs.items()}
            blots = 24 if eye.signs.get("dot_blot_haemorrhage", 0.0) > 0.85 else 3
            eyes.append(Seen(eye, diagnose(eye.signs, counts, (blots,) * 4, eye.cup_ratio)))
        found.append((patient, eyes))
    return found


def reports(style: str, every: Sequence[tuple[Patient, list[Seen]]], seed: int = SEED) -> list[Report]:
    """One report of every visit in one style."""
    return [
        write_report(
            patient, eyes, np.random.default_rng([seed, i, 9]), noise=NOISE, style=style,
            change=("", "same", "worse")[i % 3],
        )
        for i, (patient, eyes) in enumerate(every)
    ]  # fmt: skip


def truth(report: Report) -> set[Triple]:
    """Finding, eye and status of all that the report claims."""
    facts = (fact for sentence in report.sentences for fact in sentence.facts)
    return {(fact.finding, eye, fact.status) for fact in facts for eye in _EYES.get(fact.eye, ("OD", "OS"))}


def parsed(text: str) -> set[Triple]:
    """Finding, eye and status of all that the parser finds; it is not told the language."""
    mentions = parse_report(text, load_pack("fundus")).mentions
    return {(m.finding, eye, m.status) for m in mentions for eye in _EYES.get(m.laterality, ("OD", "OS"))}


def f1(pairs: Iterable[tuple[set[Triple], set[Triple]]]) -> tuple[float, float, float, int]:
    """Micro F1, precision, recall and the number of true triples."""
    hits = said = true = 0
    for gold, found in pairs:
        hits, said, true = hits + len(gold & found), said + len(found), true + len(gold)
    return 2 * hits / (said + true), hits / max(1, said), hits / max(1, true), true


def measure(data: Path) -> str:
    """The section of the results page; `data` is not needed, phantom reports are written on the fly."""
    del data
    started, every = time.perf_counter(), visits()
    lines = [
        "| style | group | bar | F1 | precision | recall | triples |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, (styles, bar) in GROUPS.items():
        pooled: list[tuple[set[Triple], set[Triple]]] = []
        for style in styles:
            pairs = [(truth(report), parsed(report.text)) for report in reports(style, every)]
            pooled += pairs
            lines.append(_row(style or "narrative, sections, keywords, shorthand", group, "", f1(pairs)))
        if len(styles) > 1:
            lines.append(_row("**all of the group**", group, "" if np.isnan(bar) else f"{bar:.2f}", f1(pooled)))
    lines.append("")
    lines.append(
        "The English styles never tuned on were written, and committed, before the parser was tuned; the Spanish and "
        "Chinese rules were written by the same hand as the reports, so those numbers are no blind test. "
        'The fix of "no new …" and "could find no …" and of "Background:" as a heading came after the first '
        "reading of the numbers (.648 and .375 for the two English groups, .720 and .732 after it); the change of "
        '"Background" was tried on the score of by_structure before it was kept, and who wrote the held-out '
        "styles worked on the parser too. Forms and synonyms were then written by a hand that opened none of the "
        "held-out files, but knew that grading_form was the weak one and had read the lists of names that plain and "
        "held-out styles may share (phrases.py, words_english.py). "
        "It read the two numbers three times: .986 and .732 with forms, .986 and "
        ".813 with the first synonyms, .986 and .848 with shorthand added; nothing was changed in the vocabulary after "
        "the third. Some of that shorthand happens to be among the unseen words (a test said so, not "
        "which): it stood in the pack at the third reading and stands in the table of synonyms now. "
        "A third hand, which opened none of the held-out files either and had read the same lists, this note, the "
        "table of synonyms and the three scores of that time (.784, .763, .985), then wrote descriptions of every "
        "finding in plain words, further shorthand, and words of denial, of doubt and for the eyes, tuned on "
        "sentences of its own (tests/unit/test_knowledge_described.py). It read "
        "the number of the unseen words once before it stopped, .935 "
        "with all of that (styles never tuned on: .990), and once more here."
    )
    lines.append("")
    lines.append(
        f"{PATIENTS} phantom visits a style, seed {SEED}, typos in {NOISE:.0%} of sentences of the plain styles; "
        f"`python recipes/measures/phantom_reports.py`, {time.perf_counter() - started:.0f} s."
    )
    return "\n".join(lines)


def _row(style: str, group: str, bar: str, scores: tuple[float, float, float, int]) -> str:
    value, precision, recall, count = scores
    return f"| {style} | {group} | {bar} | {value:.3f} | {precision:.3f} | {recall:.3f} | {count} |"


if __name__ == "__main__":
    print(measure(Path(os.environ.get("TAPETUM_DATA", "../shared/data"))))
