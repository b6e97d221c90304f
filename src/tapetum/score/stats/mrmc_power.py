"""How many readers and cases a study needs, planned from the variances of another one."""

from __future__ import annotations

from scipy import stats

from tapetum.core.errors import UsageError
from tapetum.score.stats.bounds import check_level
from tapetum.score.stats.mrmc import Generalise, ReaderVariances


def mrmc_power(
    pilot: ReaderVariances,
    *,
    readers: int,
    cases: int,
    difference: float,
    generalise: Generalise = "readers and cases",
    level: float = 0.95,
) -> float:
    """The chance that a study of two treatments finds a true difference.

    Args:
        pilot: variances of a finished study with the same share of positives, from `ReaderStudy.variances`.
        readers: how many will read, all of them all cases in both treatments.
        cases: how many cases, counted as in the pilot (patients where it had clusters).
        difference: the true difference of the mean estimates, for example 0.05; its sign does not matter.
        generalise: as in the analysis to come.
        level: one minus the test's significance level.

    Returns:
        0..1, larger is better.

    Raises:
        UsageError: fewer than two readers where readers are drawn, no cases, an unknown option.

    Example:
        >>> pilot = ReaderVariances(8.0e-4, 3.5e-4, 3.4e-4, 2.4e-4, 2.0e-4, readers=5, cases=114)
        >>> round(mrmc_power(pilot, readers=10, cases=165, difference=0.044), 2)
        0.82

    Source: Hillis, Obuchowski and Berbaum, Academic Radiology 2011. Differs: nothing.
    """
    check_level(level)
    if generalise not in ("readers and cases", "cases", "readers"):
        raise UsageError(f"generalise={generalise!r}", "readers and cases, cases, or readers")
    fewest = 1 if generalise == "cases" else 2
    if readers < fewest or cases < 1:
        raise UsageError(f"{readers} readers, {cases} cases", f"at least {fewest} and 1")
    scale = pilot.cases / cases
    shared = max(pilot.same_treatment - pilot.neither, 0.0)
    between = max(pilot.treatment_by_reader, 0.0)
    own = pilot.error - pilot.same_reader
    effect = readers * difference**2 / 2
    if generalise == "cases":
        strength = effect / (scale * (own + (readers - 1) * shared))
        return float(stats.ncx2.sf(stats.chi2.isf(1 - level, 1), 1, strength))
    interaction = between + scale * (own - shared)
    noise = interaction + (scale * readers * shared if generalise == "readers and cases" else 0.0)
    freedom = (readers - 1) * noise**2 / interaction**2
    return float(stats.ncf.sf(stats.f.isf(1 - level, 1, freedom), 1, freedom, effect / noise))


def cases_for_power(
    pilot: ReaderVariances,
    *,
    readers: int,
    difference: float,
    power: float = 0.8,
    generalise: Generalise = "readers and cases",
    level: float = 0.95,
    most: int = 1_000_000,
) -> int | None:
    """The smallest number of cases with which so many readers reach the power.

    Args:
        pilot: as in `mrmc_power`.
        readers: how many will read.
        difference: the true difference.
        power: wanted, 0..1.
        generalise: as in the analysis to come.
        level: one minus the test's significance level.
        most: cases that could be had at all.

    Returns:
        None where not even `most` cases are enough: the readers differ too much, more of them are needed.

    Raises:
        UsageError: power outside 0..1, and what `mrmc_power` refuses.

    Example:
        >>> pilot = ReaderVariances(8.0e-4, 3.5e-4, 3.4e-4, 2.4e-4, 2.0e-4, readers=5, cases=114)
        >>> cases_for_power(pilot, readers=10, difference=0.044), cases_for_power(pilot, readers=3, difference=0.02)
        (155, None)
    """
    if not 0 < power < 1:
        raise UsageError(f"power={power}", "a chance between 0 and 1, for example 0.8")

    def reached(cases: int) -> bool:
        return (
            mrmc_power(pilot, readers=readers, cases=cases, difference=difference, generalise=generalise, level=level)
            >= power
        )

    if not reached(most):
        return None
    low, high = 0, most  # not reached at low, reached at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
