"""Split by patient: eyes and visits together, each stratum in the asked proportions, old patients never moved."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from tapetum.core.errors import UsageError
from tapetum.core.types import Split

_ORDER = (Split.TRAIN, Split.TEST, Split.VAL)


def assign_splits(
    strata: Mapping[str, str],
    *,
    given: Mapping[str, Split],
    fractions: Sequence[float],
    seed: int,
    together: Iterable[Collection[str]] = (),
) -> dict[str, Split]:
    """The split of each patient.

    Within a stratum patients come in the order of a hash of (seed, patient), and each takes the split that lacks
    most. The order of the rows has no influence, and patients that already have a split keep it.

    Args:
        strata: patient → stratum, for example the patient's rarest label.
        given: splits already fixed.
        fractions: train, validation, test; they sum to 1.
        seed: another seed, another split.
        together: patients who share a picture. The new ones of a set go where its patients with a split are, where
            these are in one; else where its first new patient goes.

    Returns:
        Every patient of `strata` and `given`.

    Raises:
        UsageError: the fractions are negative or do not sum to 1.

    Example:
        >>> from collections import Counter
        >>> found = assign_splits({str(i): "" for i in range(20)}, given={}, fractions=(0.6, 0.15, 0.25), seed=0)
        >>> sorted(Counter(split.value for split in found.values()).items())
        [('test', 5), ('train', 12), ('val', 3)]
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise UsageError(
            f"split fractions {tuple(fractions)}", "train, val, test, summing to 1", "fractions=0.6,0.15,0.25"
        )
    wanted: dict[Split, float] = dict(zip((Split.TRAIN, Split.VAL, Split.TEST), fractions, strict=True))
    splits = dict(given)
    counts: dict[str, Counter[Split]] = {}
    for patient, stratum in strata.items():
        counts.setdefault(stratum, Counter())
        if patient in given:
            counts[stratum][given[patient]] += 1
    partners = _partners(together)
    for patient in sorted((p for p in strata if p not in given), key=lambda p: _order(seed, p)):
        count = counts[strata[patient]]
        total = sum(count.values()) + 1
        bound = {splits[p] for p in partners.get(patient, ()) if p in splits}
        if len(bound) == 1:
            choice = bound.pop()
        else:
            choice = max((s for s in _ORDER if wanted[s] > 0), key=lambda s: wanted[s] * total - count[s])
        splits[patient] = choice
        count[choice] += 1
    return splits


def rarest_label(labels_of: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Each patient's rarest label, counted in patients; empty for a patient without any.

    Example:
        >>> rarest_label({"a": ["N"], "b": ["N", "G"], "c": []})
        {'a': 'N', 'b': 'G', 'c': ''}
    """
    sets = {patient: set(labels) for patient, labels in labels_of.items()}
    counts = Counter(label for labels in sets.values() for label in labels)
    return {p: min(labels, key=lambda name: (counts[name], name), default="") for p, labels in sets.items()}


def _partners(together: Iterable[Collection[str]]) -> dict[str, set[str]]:
    """Each patient's set; sets that share a patient are one."""
    found: dict[str, set[str]] = {}
    for patients in together:
        joined = set(patients).union(*(found.get(p, set()) for p in patients))
        found |= dict.fromkeys(joined, joined)
    return found


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{patient}".encode()).digest()
