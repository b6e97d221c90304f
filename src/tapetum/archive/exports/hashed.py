"""A split that never changes: by a hash of the patient's number alone, equal at every site and in every version."""

from __future__ import annotations

import hashlib

from tapetum.core.types import Split


def hashed_split(patient: str, salt: str) -> Split:
    """Train, val or test: 60, 15 and 25 % of the patients.

    Args:
        patient: the number as the set gives it.
        salt: of the set, fixed for good: another one would move test patients into training.

    Example:
        >>> [hashed_split(number, "s7").value for number in ("6", "7", "8", "9")]
        ['train', 'test', 'train', 'test']
    """
    share = int(hashlib.sha256(f"{salt}{patient}".encode()).hexdigest()[:8], 16) / 2**32
    return Split.TRAIN if share < 0.6 else Split.VAL if share < 0.75 else Split.TEST
