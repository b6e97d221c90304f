"""Groups of patients and images by what the archive says of them: sex, age, device, eye, quality, size."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from tapetum.core.errors import UsageError
from tapetum.core.types import UNKNOWN, ImageRecord

AGES = (40.0, 60.0)
OTHER_SIZES = "other sizes"
COMMON_SIZE = 0.05  # of the images: below it a size is one of the others
Groups = Mapping[str, Mapping[str, Bool[np.ndarray, "n"]]]


def groups_of(records: Sequence[ImageRecord], *, ages: Sequence[float] = AGES) -> Groups:
    """Attribute → group → which of the images belong to it.

    The attributes are `sex`, `age`, `device`, `laterality`, `modality`, `gradable` and `size` (width × height, sizes of
    less than a twentieth of the images together). Every image is in one group of an attribute; what the archive does
    not know is the group `unknown`, which stands last. An attribute with one known group only is left out.

    Args:
        records: of the images, in the order of the masks.
        ages: where bands of age begin, in years, rising: 40 and 60 give `<40`, `40-59` and `60+`.

    Returns:
        Masks of length n, groups in the order of their names, bands of age in the order of age.

    Raises:
        UsageError: ages that are not positive and rising.
    """
    if not ages or any(b <= a for a, b in itertools.pairwise((0.0, *ages))):
        raise UsageError(f"ages={tuple(ages)}", "one or more years, rising, for example (40, 60)")
    count = Counter(_size(r) for r in records)
    common = {size for size, n in count.items() if n >= COMMON_SIZE * len(records)}
    said: dict[str, Callable[[ImageRecord], str]] = {
        "sex": lambda r: r.sex,
        "age": lambda r: age_band(r.age_years, ages),
        "device": lambda r: r.device,
        "laterality": lambda r: r.laterality.value,
        "modality": lambda r: r.modality,
        "gradable": _gradable,
        "size": lambda r: _size(r) if _size(r) in common else OTHER_SIZES,
    }
    bands = {band: i for i, band in enumerate(age_bands(ages))}
    found: dict[str, dict[str, Bool[np.ndarray, "n"]]] = {}
    for attribute, of in said.items():
        values = np.array([of(r) or UNKNOWN for r in records], dtype=object)
        names = sorted(set(values.tolist()), key=lambda v: (v == UNKNOWN, bands.get(v, 0), v))
        if sum(name != UNKNOWN for name in names) > 1:
            found[attribute] = {name: values == name for name in names}
    return found


def age_bands(ages: Sequence[float]) -> list[str]:
    """Names of the bands, youngest first.

    Example:
        >>> age_bands((40, 60))
        ['<40', '40-59', '60+']
    """
    inner = [f"{a:g}-{b - 1:g}" for a, b in itertools.pairwise(ages)]
    return [f"<{ages[0]:g}", *inner, f"{ages[-1]:g}+"]


def age_band(years: float, ages: Sequence[float]) -> str:
    """The band of an age, `unknown` for NaN."""
    return UNKNOWN if math.isnan(years) else age_bands(ages)[sum(years >= a for a in ages)]


def _gradable(record: ImageRecord) -> str:
    if record.quality:
        return "no"
    return UNKNOWN if math.isnan(record.gradable) else "yes"


def _size(record: ImageRecord) -> str:
    return f"{record.width}x{record.height}"
