"""The tree of findings as an array: levels, and probabilities that agree with it.

Whoever has a grade has the disease: a finding is at least as likely as every finer form of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import UsageError
from tapetum.knowledge import Pack


@dataclass(frozen=True)
class Tree:
    """Findings with the nearest of them above each.

    Attributes:
        names: ids, each after what stands above it.
        parent: place of the nearest one above among `names`, −1 where there is none.
    """

    names: tuple[str, ...]
    parent: Int[np.ndarray, "k"]

    def __post_init__(self) -> None:
        if len(self.parent) != len(self.names) or any(p >= i or p < -1 for i, p in enumerate(self.parent)):
            raise UsageError(f"parents {list(self.parent)}", "for each name the place of an earlier one, or −1")

    @property
    def depth(self) -> Int[np.ndarray, "k"]:
        """Steps below the top, from 0."""
        found = np.zeros(len(self.names), dtype=np.intp)
        for i, above in enumerate(self.parent):
            found[i] = found[above] + 1 if above >= 0 else 0
        return found


def tree_of(pack: Pack, findings: Sequence[str]) -> Tree:
    """The tree of some findings of a pack, in the pack's order; findings between them are skipped.

    Args:
        pack: the domain pack.
        findings: ids, each once.

    Raises:
        UsageError: an unknown finding.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> tree_of(load_pack("fundus"), ["mild_npdr", "diabetic_retinopathy"])
        Tree(names=('diabetic_retinopathy', 'mild_npdr'), parent=array([-1,  0]))
    """
    wanted = {pack.finding(f).id for f in findings}
    names = tuple(f for f in pack.findings if f in wanted)
    number = {name: i for i, name in enumerate(names)}
    parent = [next((number[a] for a in pack.ancestors(name) if a in number), -1) for name in names]
    return Tree(names, np.array(parent, dtype=np.intp))


def consistent(probs: Float[np.ndarray, "n k"], tree: Tree) -> Float[np.ndarray, "n k"]:
    """The nearest probabilities in which no finding is likelier than what it implies.

    The least sum of squared changes per row, which is unique (isotonic regression on a tree). Where a finding is
    likelier than what stands above it, the two meet at their mean, and so on along the tree.

    Args:
        probs: 0..1, or scores of any range; one column per name of the tree.
        tree: of the columns.

    Returns:
        As many rows; rows that agree with the tree already come back unchanged.

    Raises:
        UsageError: another number of columns, or NaN.

    Source: Pardalos and Xue, Algorithmica 1999 (isotonic regression on a rooted tree, from the leaves up).

    Example:
        >>> tree = Tree(("disease", "grade"), np.array([-1, 0]))
        >>> consistent(np.array([[0.2, 0.6], [0.7, 0.1]]), tree)
        array([[0.4, 0.4],
               [0.7, 0.1]])
    """
    values = _checked(probs, tree)
    out = values.copy()
    for row in np.flatnonzero(_steps_up(values, tree).any(1)):
        out[row] = _regressed(values[row], tree.parent)
    return out


def violations(probs: Float[np.ndarray, "n k"], tree: Tree) -> float:
    """Share of the steps of the tree, over all rows, at which a finding is likelier than what stands above it.

    Args:
        probs: one column per name of the tree.
        tree: of the columns.

    Returns:
        0..1, lower is better; NaN where the tree has no step.

    Raises:
        UsageError: another number of columns, or NaN.
    """
    steps = _steps_up(_checked(probs, tree), tree)
    return float(steps.mean()) if steps.size else float("nan")


def agreement(probs: Float[np.ndarray, "n k"], tree: Tree, coarse: int, fine: int) -> float:
    """Share of the rows whose likeliest finding at a fine level lies below their likeliest one at a coarse level.

    Args:
        probs: one column per name of the tree.
        tree: of the columns.
        coarse: depth of the upper level, from 0.
        fine: depth of the lower level, larger.

    Returns:
        0..1, higher is better.

    Raises:
        UsageError: another number of columns, NaN, or a depth that the tree lacks.
    """
    values, depth = _checked(probs, tree), tree.depth
    if not 0 <= coarse < fine <= int(depth.max(initial=-1)):
        raise UsageError(f"levels {coarse} and {fine}", f"0 ≤ coarse < fine ≤ {int(depth.max(initial=-1))}")
    upper, lower = np.flatnonzero(depth == coarse), np.flatnonzero(depth == fine)
    above = lower.copy()
    for _ in range(fine - coarse):
        above = tree.parent[above]
    best = values[:, lower].argmax(1)
    return float((above[best] == upper[values[:, upper].argmax(1)]).mean())


def _checked(probs: Float[np.ndarray, "n k"], tree: Tree) -> Float[np.ndarray, "n k"]:
    values = np.asarray(probs, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(tree.names):
        raise UsageError(f"probabilities of shape {values.shape}", f"{len(tree.names)} columns, those of the tree")
    if np.isnan(values).any():
        missing = tree.names[int(np.flatnonzero(np.isnan(values).any(0))[0])]
        raise UsageError(f"{missing} has no probability (NaN)", "a number in every column", "leave the finding out")
    return values


def _steps_up(values: Float[np.ndarray, "n k"], tree: Tree) -> np.ndarray:
    """Row by row and finding below another: whether it is likelier than that."""
    below = np.flatnonzero(tree.parent >= 0)
    return values[:, below] > values[:, tree.parent[below]]


def _regressed(values: Float[np.ndarray, "k"], parent: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """One row. From the leaves up, each finding takes in the likeliest block below it as long as that is likelier."""
    total, members = values.tolist(), [[i] for i in range(len(values))]
    below: list[list[int]] = [[] for _ in values]
    for i in range(len(values) - 1, -1, -1):
        while below[i]:
            top = max(below[i], key=lambda b: total[b] / len(members[b]))
            if total[top] / len(members[top]) <= total[i] / len(members[i]):
                break
            below[i].remove(top)
            below[i] += below[top]
            total[i] += total[top]
            members[i] += members[top]
            members[top] = []
        if parent[i] >= 0:
            below[parent[i]].append(i)
    out = np.empty(len(values))
    for block, value in zip(members, total, strict=True):
        if block:
            out[block] = value / len(block)
    return out
