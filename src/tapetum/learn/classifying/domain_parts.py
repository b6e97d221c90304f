"""What penalties on domains share: the parts of a batch, losses with a slope, how far two parts lie apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

Apart = Callable[[Float[Tensor, "m e"], Float[Tensor, "n e"]], Float[Tensor, ""]]
Dependence = Callable[[Float[Tensor, "b e"], Bool[Tensor, "b b"]], Float[Tensor, ""]]


def domain_parts(domains: Int[Tensor, "b"], fewest: int = 1) -> list[Bool[Tensor, "b"]]:
    """A mask per domain that has at least so many rows in the batch, in the order of their numbers."""
    masks = [domains == d for d in torch.unique(domains)]
    return [mask for mask in masks if int(mask.sum()) >= fewest]


def partners_elsewhere(domains: Int[Tensor, "b"], rng: np.random.Generator) -> Int[np.ndarray, "b"]:
    """For each row a row of another domain, drawn: first the domain, each other one as likely, then the row.

    Args:
        domains: of the rows.
        rng: the generator.

    Returns:
        Numbers of rows; a row's own where there is no other domain.

    Example:
        >>> partners_elsewhere(torch.tensor([0, 0, 1]), np.random.default_rng(0))[:2].tolist()
        [2, 2]
    """
    known, which = np.unique(domains.numpy(), return_inverse=True)
    if len(known) < 2:
        return np.arange(len(which))
    there = (which + rng.integers(1, len(known), len(which))) % len(known)
    order, first = np.argsort(which, kind="stable"), np.searchsorted(np.sort(which), np.arange(len(known)))
    number = np.bincount(which)
    return order[first[there] + rng.integers(0, number[there])]


def label_losses(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"] | Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
    """Cross-entropy of classes, or the mean binary one of the findings that are known; nats per example."""
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels.long(), reduction="none")
    known = ~torch.isnan(labels)
    each = functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none") * known
    return each.sum(1) / known.sum(1).clamp_min(1)


def mean_apart(
    rows: Float[Tensor, "b e"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    apart: Apart,
    *,
    within: str,
    fewest: int,
) -> Float[Tensor, ""]:
    """Mean distance over pairs of domains, of all their rows or class by class.

    Args:
        rows: what is compared.
        labels: of the rows, classes for `within="class"`.
        domains: of the rows.
        apart: distance of two sets of rows.
        within: `all`, or `class`: rows of a class are compared with rows of the same class, so that domains may differ
            in how common a class is.
        fewest: rows that a part needs.

    Returns:
        0 where no two parts can be compared.

    Raises:
        UsageError: another `within`, or `class` with findings.
    """
    found = [
        apart(rows[kind][a], rows[kind][b])
        for kind in _kinds(labels, domains, within)
        for a, b in itertools.combinations(domain_parts(domains[kind], fewest), 2)
    ]
    return torch.stack(found).mean() if found else rows.sum() * 0


def mean_dependence(
    rows: Float[Tensor, "b e"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    dependence: Dependence,
    *,
    within: str,
) -> Float[Tensor, ""]:
    """How far rows tell their domain, of all rows or as the mean over classes.

    Args:
        rows: what is read.
        labels: of the rows, classes for `within="class"`.
        domains: of the rows.
        dependence: of rows on a mask that says which two rows are of one domain.
        within: `all`, or `class`: among rows of the same class, so that domains may differ in how common a class is.

    Returns:
        0 where every part is of one domain.

    Raises:
        UsageError: another `within`, or `class` with findings.
    """
    found = [
        dependence(rows[kind], domains[kind][:, None] == domains[kind][None])
        for kind in _kinds(labels, domains, within)
        if len(domain_parts(domains[kind])) > 1
    ]
    return torch.stack(found).mean() if found else rows.sum() * 0


def centred(square: Float[Tensor, "b b"]) -> Float[Tensor, "b b"]:
    """A symmetric matrix without the means of its rows and columns."""
    return square - square.mean(0) - square.mean(1, keepdim=True) + square.mean()


def _kinds(
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"], domains: Int[Tensor, "b"], within: str
) -> list[Bool[Tensor, "b"]]:
    if within not in ("all", "class") or (within == "class" and labels.ndim != 1):
        raise UsageError(f"within={within!r}", "all, or class where every image has one class", "within='all'")
    if within == "all":
        return [torch.ones_like(domains, dtype=torch.bool)]
    return [labels == c for c in torch.unique(labels)]


def chosen_rows(
    of: str, embedded: Float[Tensor, "b e"], logits: Float[Tensor, "b k"]
) -> Float[Tensor, "b e"] | Float[Tensor, "b k"]:
    """What a penalty compares.

    Raises:
        UsageError: neither `embedded` nor `logits`.
    """
    if of not in ("embedded", "logits"):
        raise UsageError(f"of={of!r}", "embedded or logits")
    return embedded if of == "embedded" else logits


def refuse_weight(weight: float) -> None:
    """Raises:
    UsageError: below 0.
    """
    if weight < 0:
        raise UsageError(f"weight={weight}", "at least 0")
