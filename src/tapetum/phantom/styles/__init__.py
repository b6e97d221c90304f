"""Authors of phantom reports: each words the same claims in a way of their own."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tapetum.phantom.claims import Visit
from tapetum.phantom.statement import Report


class Style(Protocol):
    """One author: the claims of a visit in, the report with the truth of every sentence out."""

    def __call__(self, visit: Visit, rng: np.random.Generator) -> Report:
        """Write the report of a visit."""
        ...
