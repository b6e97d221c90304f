"""Which of several runs to keep when domains differ: three rules, each a pure function over validation values.

A rule reads the values it is named for and nothing else. Methods chosen by different rules do not compare: every
row of a table names its rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tapetum.core.errors import DataError


@dataclass(frozen=True)
class Candidate:
    """One setting of a method, with what validation patients say of it; higher values are better.

    Attributes:
        setting: its name.
        trained: domain → value on the validation patients of a domain that was learned on.
        left_out: domain → value on the validation patients of a domain learned on otherwise, by a run without it.
        target: value on the validation patients of the tested domain; NaN where it was not looked at.
    """

    setting: str
    trained: Mapping[str, float] = field(default_factory=dict[str, float])
    left_out: Mapping[str, float] = field(default_factory=dict[str, float])
    target: float = math.nan


def training_domain(candidates: Sequence[Candidate]) -> Candidate:
    """The best mean over the domains learned on, each domain counting alike.

    Args:
        candidates: runs of one method for one tested domain.

    Returns:
        The best one, the first of equals.

    Raises:
        DataError: no candidate has a value.

    Example:
        >>> training_domain([Candidate("a", {"x": 0.9, "y": 0.5}), Candidate("b", {"x": 0.8, "y": 0.8})]).setting
        'b'

    Source: Gulrajani and Lopez-Paz, ICLR 2021, arXiv 2007.01434, section 3. Differs: a mean of domains, not of images;
    a domain that cannot be judged is left out for all candidates alike.
    """
    return _best(candidates, [c.trained for c in candidates], "validation patients of the domains learned on")


def leave_one_domain_out(candidates: Sequence[Candidate]) -> Candidate:
    """The best mean over domains that a run of its own had left out of learning.

    Args:
        candidates: runs of one method for one tested domain, of two or more domains to learn on.

    Returns:
        The best one, the first of equals.

    Raises:
        DataError: no candidate has a value.

    Source: Gulrajani and Lopez-Paz, ICLR 2021, arXiv 2007.01434, section 3. Differs: as in `training_domain`; the run
    that is kept has learned from all domains but the tested one.
    """
    return _best(candidates, [c.left_out for c in candidates], "two or more domains to learn on")


def oracle(candidates: Sequence[Candidate]) -> Candidate:
    """The best on validation patients of the tested domain: not available in practice, a bound on what choosing can do.

    Args:
        candidates: runs of one method for one tested domain.

    Returns:
        The best one, the first of equals.

    Raises:
        DataError: no candidate has a value.

    Source: Gulrajani and Lopez-Paz, ICLR 2021, arXiv 2007.01434, section 3. Differs: chosen on validation patients of
    the tested domain, none of whom is tested.
    """
    return _best(candidates, [{"target": c.target} for c in candidates], "validation patients of the tested domain")


Rule = Callable[[Sequence[Candidate]], Candidate]
RULES: Mapping[str, Rule] = {
    "training_domain": training_domain,
    "leave_one_domain_out": leave_one_domain_out,
    "oracle": oracle,
}


def _best(candidates: Sequence[Candidate], values: Sequence[Mapping[str, float]], needed: str) -> Candidate:
    """The largest mean over the domains that every candidate has a value for; a candidate without any cannot win."""
    told = [{d for d, value in of.items() if not math.isnan(value)} for of in values]
    judged = [t for t in told if t]
    if not judged:
        raise DataError("no candidate has a value to be chosen by", needed)
    shared = sorted(set.intersection(*judged))
    if not shared:
        raise DataError("no domain in which all candidates could be judged", needed)
    means = [sum(of[d] for d in shared) / len(shared) if t else -math.inf for of, t in zip(values, told, strict=True)]
    return candidates[means.index(max(means))]
