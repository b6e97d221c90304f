"""From all that was said to records and quarantine: a pure function, so that order and interruptions cannot matter."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tapetum.archive.intake.laterality import conflict
from tapetum.archive.rows import Refusal
from tapetum.archive.store.catalog import Statement
from tapetum.core.types import UNKNOWN, ImageRecord, Laterality, Split
from tapetum.knowledge.laterality import eyes

# Two ages of one patient may differ by rounding at both ends and a birthday between.
AGE_SLACK_YEARS = 2.0
# Images of one of two eyes; in a chest X-ray's report "right" is a lung.
# Of a statement, and no fields of the record: the eye in the file's name, and the token under which lies, sealed, what
# the statement's pseudonyms follow from.
FILE_EYE, ORIGIN = "file_eye", "origin"
EYE_MODALITIES = ("fundus", "oct")


@dataclass(frozen=True)
class Resolved:
    """Statements that stand (one per image, sorted by image id), and those that do not, with the reason."""

    kept: tuple[Statement, ...]
    quarantine: tuple[Refusal, ...]


def resolve(
    statements: Sequence[Statement],
    disc_sides: Mapping[str, Laterality] = MappingProxyType({}),
) -> Resolved:
    """Refuse duplicates, images that two patients claim, eyes in doubt, and patients that contradict themselves.

    Args:
        statements: everything that was said.
        disc_sides: image → the eye that its optic disc speaks for; used for fundus photographs only.

    Returns:
        What stands and what does not; an eye that only the file's name tells is taken from there.
    """
    refused = {_key(s): s.reason for s in statements if s.reason}
    stored = [_named(s) for s in statements if not s.reason]
    refused |= _duplicates(stored)
    standing = [s for s in stored if _key(s) not in refused]
    for statement, spoken in zip(standing, _report_sides(standing), strict=True):
        said = statement.said
        if said["modality"] not in EYE_MODALITIES:
            continue
        evidence = {"file name": _file_eye(said), "report": spoken}
        if said["modality"] == "fundus":
            evidence["side of the disc"] = disc_sides.get(statement.image_id, Laterality.UNKNOWN)
        reason = conflict(Laterality(said["laterality"]), evidence)
        if reason:
            refused[_key(statement)] = reason
    standing = [s for s in standing if _key(s) not in refused]
    by_patient: dict[str, list[Statement]] = defaultdict(list)
    for statement in standing:
        by_patient[statement.said["patient_id"]].append(statement)
    for patient, group in by_patient.items():
        reason = contradiction([s.said for s in group])
        if reason:
            refused |= {_key(s): f"patient {patient!r} contradicts itself: {reason}" for s in group}
    kept = sorted((s for s in standing if _key(s) not in refused), key=lambda s: s.image_id)
    quarantine = sorted(
        (Refusal(s.source, s.row, refused[_key(s)]) for s in statements if _key(s) in refused),
        key=lambda r: (r.file, r.row, r.reason),
    )
    return Resolved(tuple(kept), tuple(quarantine))


def record(
    statement: Statement, split: Split, facts: Mapping[str, Any], *, gradable: float = math.nan, quality: str = ""
) -> ImageRecord:
    """The archive's record of one standing statement.

    Args:
        statement: what was said.
        split: of its patient.
        facts: what the look at the file showed; an archive of the first version kept them with the statement.
        gradable: probability in 0..1 that a reader could grade the image, NaN where it was not judged.
        quality: why it could not be graded.
    """
    said: dict[str, Any] = {k: v for k, v in statement.said.items() if k not in ("split", FILE_EYE, ORIGIN)}
    for key in ("mm_per_pixel", "age_years"):
        said[key] = math.nan if said[key] is None else float(said[key])
    said["laterality"] = Laterality(said["laterality"])
    said["labels"] = tuple(said["labels"])
    said |= {key: facts[key] for key in ("width", "height", "channels", "bits", "frames") if key in facts}
    return ImageRecord(
        image_id=statement.image_id, source=statement.source, split=split, gradable=gradable, quality=quality, **said
    )


def _file_eye(said: Mapping[str, Any]) -> Laterality:
    """The eye that the file's name spells out; kept when the name itself is hidden."""
    return Laterality(said.get(FILE_EYE, UNKNOWN))


def _named(statement: Statement) -> Statement:
    """The statement with the eye of its file's name, where nothing else says which it is."""
    eye = _file_eye(statement.said)
    told = statement.said["laterality"] != UNKNOWN or statement.said["modality"] not in EYE_MODALITIES
    if told or eye is Laterality.UNKNOWN:
        return statement
    where = {**statement.said.get("provenance", {}), "laterality": "file name"}
    return dataclasses.replace(statement, said={**statement.said, "laterality": eye.value, "provenance": where})


def _report_sides(statements: Sequence[Statement]) -> list[Laterality]:
    """Per statement the one eye its report speaks of, unknown where the report is of both eyes' images or names none.

    A visit's report stands beside the images of both eyes and may well speak of one only: it says something of an
    image only where it belongs to images of one eye.
    """
    eyes_of: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    keys = [(s.said["patient_id"], s.said["captured"], s.said["report"]) for s in statements]
    for key, statement in zip(keys, statements, strict=True):
        eyes_of[key].add(statement.said["laterality"])
    spoken: dict[str, Laterality] = {}
    for _, _, report in {key for key in keys if key[2] and len(eyes_of[key]) == 1}:
        sides = {eye.side for eye in eyes(report, 0, len(report))}
        spoken[report] = sides.pop() if len(sides) == 1 else Laterality.UNKNOWN
    return [spoken.get(key[2], Laterality.UNKNOWN) if len(eyes_of[key]) == 1 else Laterality.UNKNOWN for key in keys]


def contradiction(said: Sequence[Mapping[str, Any]]) -> str:
    """Why rows cannot be of one patient, or an empty text.

    Example:
        >>> contradiction([{"sex": "F", "age_years": 60.0, "captured": "unknown", "split": "unassigned"},
        ...                {"sex": "F", "age_years": 71.0, "captured": "unknown", "split": "unassigned"}])
        'ages 60 and 71 years without dates'
    """
    sexes = sorted({str(s["sex"]) for s in said} - {UNKNOWN})
    if len(sexes) > 1:
        return f"sex {' and '.join(sexes)}"
    splits = sorted({str(s["split"]) for s in said} - {Split.NONE.value})
    if len(splits) > 1:
        return f"assigned to {' and '.join(splits)}"
    aged = [s for s in said if s["age_years"] is not None and not math.isnan(s["age_years"])]
    undated = sorted(float(s["age_years"]) for s in aged if s["captured"] == UNKNOWN)
    if undated and undated[-1] - undated[0] > AGE_SLACK_YEARS:
        return f"ages {undated[0]:g} and {undated[-1]:g} years without dates"
    # With dates, age minus date is the date of birth, and there is one.
    dated = sorted((s for s in aged if s["captured"] != UNKNOWN), key=_birth)
    if dated and _birth(dated[-1]) - _birth(dated[0]) > AGE_SLACK_YEARS:
        first, last = dated[0], dated[-1]
        return f"age {first['age_years']:g} on {first['captured']} and age {last['age_years']:g} on {last['captured']}"
    return ""


def _birth(said: Mapping[str, Any]) -> float:
    day = datetime.date.fromisoformat(said["captured"])
    return day.year + (day.timetuple().tm_yday - 1) / 365.25 - float(said["age_years"])


def _duplicates(stored: Sequence[Statement]) -> dict[tuple[str, str, int], str]:
    groups: dict[str, list[Statement]] = defaultdict(list)
    for statement in stored:
        groups[statement.image_id].append(statement)
    refused: dict[tuple[str, str, int], str] = {}
    for group in groups.values():
        first = group[0]
        for name, field in (("patients", "patient_id"), ("eyes", "laterality")):
            claims = sorted({str(s.said[field]) for s in group} - {UNKNOWN})
            if len(claims) > 1:
                for s in group:
                    other = next(o for o in group if o.said[field] != s.said[field])
                    place = f"{other.source}, row {other.row}" if other.row else other.source
                    refused[_key(s)] = f"two {name} claim the same image ({' and '.join(claims)}): also {place}"
                break
        else:
            for s in group[1:]:
                place = f"{first.source}, row {first.row}" if first.row else first.source
                refused[_key(s)] = f"duplicate of {place}"
    return refused


def _key(statement: Statement) -> tuple[str, str, int]:
    return statement.source, statement.image_id, statement.ordinal
