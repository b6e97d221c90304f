"""From all that was said to records and quarantine: a pure function, so that order and interruptions cannot matter."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapetum.archive.catalog import Statement
from tapetum.archive.rows import Refusal
from tapetum.core.types import UNKNOWN, ImageRecord, Laterality, Split

# Two ages of one patient may differ by rounding at both ends and a birthday between.
AGE_SLACK_YEARS = 2.0


@dataclass(frozen=True)
class Resolved:
    """Statements that stand (one per image, sorted by image id), and those that do not, with the reason."""

    kept: tuple[Statement, ...]
    quarantine: tuple[Refusal, ...]


def resolve(statements: Sequence[Statement]) -> Resolved:
    """Refuse duplicates, images that two patients claim, and patients that contradict themselves."""
    refused = {_key(s): s.reason for s in statements if s.reason}
    stored = [s for s in statements if not s.reason]
    refused |= _duplicates(stored)
    standing = [s for s in stored if _key(s) not in refused]
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


def record(statement: Statement, split: Split) -> ImageRecord:
    """The archive's record of one standing statement."""
    said: dict[str, Any] = {k: v for k, v in statement.said.items() if k != "split"}
    for key in ("mm_per_pixel", "age_years"):
        said[key] = math.nan if said[key] is None else float(said[key])
    said["laterality"] = Laterality(said["laterality"])
    said["labels"] = tuple(said["labels"])
    return ImageRecord(image_id=statement.image_id, source=statement.source, split=split, **said)


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
