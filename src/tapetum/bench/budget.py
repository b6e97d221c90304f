"""Equal budgets: in one table every method may be tested with as many settings as any other.

Whoever reads a table takes the best row. Where one method stands there with five settings and another with one, the
first was tuned on the test set, and more than the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec


def settings_of(specs: Iterable[str]) -> dict[str, int]:
    """With how many different settings each method stands in a table.

    Example:
        >>> settings_of(["knn(k=5)", "knn(k=50)", "knn(k=5)", "lda()"])
        {'knn': 2, 'lda': 1}
    """
    return dict(Counter(Spec.parse(spec).name for spec in dict.fromkeys(str(Spec.parse(s)) for s in specs)))


def refuse_unequal(budgets: Mapping[str, int], *, said: bool = False, chosen_on_tested: bool = True) -> tuple[str, ...]:
    """Rows of one table that were tuned with different budgets.

    Args:
        budgets: method → its budget: settings tried for it, or fits where each setting is fitted on several folds.
        said: the user has said so: a note instead of an error.
        chosen_on_tested: whether the tested patients may not be used to choose. False on validation patients, where
            choosing is what they are for.

    Returns:
        A note where budgets differ and that is allowed.

    Raises:
        UsageError: they differ.

    Example:
        >>> refuse_unequal({"knn": 2, "lda": 2})
        ()
    """
    if len(set(budgets.values())) < 2 or not chosen_on_tested:
        return ()
    told = ", ".join(f"{method} {number}" for method, number in sorted(budgets.items(), key=lambda b: (-b[1], b[0])))
    if said:
        return (f"UNEQUAL BUDGETS, the best row of a method with more settings is too good: settings tried: {told}",)
    raise UsageError(
        f"methods with unequal numbers of settings in one table of test results: {told}",
        "as many settings of each: the best of many is chosen on the tested patients",
        "test_split=val to choose first, then one setting of each; or unequal_budgets=true, which the table then says",
    )
