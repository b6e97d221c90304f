"""Recall at k of text-to-image and image-to-text search, against what a random order would reach.

A query and its own partner belong to one patient. That patient is excluded, so "the partner was found" cannot be the
question: an item of **another** patient is relevant when its report says the same (equal text, or equal findings; the
caller decides and hands over a matrix). Queries for which no other patient has a relevant item are left out, counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy import special

from tapetum.core.errors import DataError, UsageError

QUERIES_AT_ONCE = 512


@dataclass(frozen=True)
class Recall:
    """What was found, query by query, so that `tapetum.score.mean_interval` can resample patients.

    Attributes:
        hits: k → 1 where a relevant item is among the first k, 0 where not, NaN where the query was left out; between 0
            and 1 where equal scores leave the order open (the share of their orders that hit).
        ranks: place of the first relevant item from 1 (mean over the orders of equal scores), NaN where left out.
        chance: k → mean of `hits` for a random order of the same candidates: the exact expectation, no simulation.
        chance_rank: mean of `ranks` for a random order.
        used, left_out: numbers of queries with and without a relevant item of another patient.
    """

    hits: Mapping[int, Float64[np.ndarray, "q"]]
    ranks: Float64[np.ndarray, "q"]
    chance: Mapping[int, float]
    chance_rank: float
    used: int
    left_out: int

    def mean(self, k: int) -> float:
        """Recall at k over the queries used; 0..1, higher is better, NaN without any."""
        return float(np.nanmean(self.hits[k])) if self.used else float("nan")

    @property
    def median_rank(self) -> float:
        """Median place of the first relevant item; lower is better, NaN without queries."""
        return float(np.nanmedian(self.ranks)) if self.used else float("nan")


def recall_at(
    similarity: Float[np.ndarray, "q g"],
    relevant: Bool[np.ndarray, "q g"],
    query_patients: Sequence[Hashable] | np.ndarray,
    gallery_patients: Sequence[Hashable] | np.ndarray,
    *,
    ks: Sequence[int] = (1, 5, 10),
    exclude_same_patient: bool = True,
) -> Recall:
    """Whether a relevant item is among the first k of the gallery, for every query.

    Args:
        similarity: higher = more alike; image-to-text is the transpose of text-to-image.
        relevant: which items answer which query, for example `equal_texts(reports, reports)`.
        query_patients: whose the queries are.
        gallery_patients: whose the items are.
        ks: places to look at, each at least 1.
        exclude_same_patient: take the query's own patient out of the gallery.

    Returns:
        Hits, ranks and their exact chance level.

    Raises:
        DataError: shapes that do not fit, or NaN similarities.
        UsageError: a k below 1.

    Example:
        >>> found = recall_at(np.eye(3), equal_texts("aab", "aab"), "pqr", "pqr", ks=(1,))
        >>> found.mean(1), found.chance[1], found.used, found.left_out
        (0.5, 0.5, 2, 1)
    """
    shape = (len(query_patients), len(gallery_patients))
    if similarity.shape != shape or relevant.shape != shape:
        raise DataError(f"similarity {similarity.shape}, relevant {relevant.shape}", f"both {shape}: queries by items")
    if np.isnan(similarity).any():
        raise DataError(f"{int(np.isnan(similarity).sum())} similarities are NaN", "a number for every pair")
    if not ks or min(ks) < 1:
        raise UsageError(f"ks={tuple(ks)}", "places from 1 up")
    code = {name: i for i, name in enumerate(dict.fromkeys([*query_patients, *gallery_patients]))}
    codes = np.array([code[name] for name in [*query_patients, *gallery_patients]])
    whose, owner = codes[: shape[0]], codes[shape[0] :]
    excluded = whose if exclude_same_patient else np.full(len(whose), -1)  # no item's owner is -1
    ahead, tied, good, pool, total = _all_places(similarity, relevant, excluded, owner)
    left_out = total == 0
    used = int((~left_out).sum())
    hits = {k: np.where(left_out, np.nan, _chance_of_hit(k - ahead, tied, good)) for k in ks}
    by_chance = {k: _chance_of_hit(np.full(len(pool), k), pool, total)[~left_out] for k in ks}
    expected = (pool + 1) / (total + 1)
    return Recall(
        hits=hits,
        ranks=np.where(left_out, np.nan, ahead + (tied + 1) / (good + 1)),
        chance={k: float(values.mean()) if used else float("nan") for k, values in by_chance.items()},
        chance_rank=float(expected[~left_out].mean()) if used else float("nan"),
        used=used,
        left_out=int(left_out.sum()),
    )


def equal_texts(queries: Sequence[Hashable], gallery: Sequence[Hashable]) -> Bool[np.ndarray, "q g"]:
    """Which items say the same as which query: equal texts, or equal frozensets of findings.

    Args:
        queries: one text (or set of findings) per query.
        gallery: one per item.

    Example:
        >>> equal_texts([frozenset({"drusen"})], [frozenset({"drusen"}), frozenset()]).tolist()
        [[True, False]]
    """
    code = {text: i for i, text in enumerate(dict.fromkeys([*queries, *gallery]))}
    left, right = np.array([code[t] for t in queries]), np.array([code[t] for t in gallery])
    return left[:, None] == right[None, :]


def _all_places(
    similarity: Float[np.ndarray, "q g"],
    relevant: Bool[np.ndarray, "q g"],
    whose: Int[np.ndarray, "q"],
    owner: Int[np.ndarray, "g"],
) -> tuple[Int[np.ndarray, "q"], ...]:
    """`_places` of all queries, some at a time; a query's candidates are the items of other owners."""
    parts = [slice(first, first + QUERIES_AT_ONCE) for first in range(0, len(whose), QUERIES_AT_ONCE)]
    found = [_places(similarity[part], relevant[part], whose[part, None] != owner) for part in parts]
    return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))


def _places(
    similarity: Float[np.ndarray, "q g"], relevant: Bool[np.ndarray, "q g"], candidates: Bool[np.ndarray, "q g"]
) -> tuple[Int[np.ndarray, "q"], ...]:
    """Candidates ahead of the best relevant item, tied with it, relevant of the tied; all candidates, all relevant."""
    right = relevant & candidates
    best = np.max(np.where(right, similarity, -np.inf), axis=1, initial=-np.inf, keepdims=True)
    tied = candidates & (similarity == best)
    return (
        (candidates & (similarity > best)).sum(axis=1),
        tied.sum(axis=1),
        (tied & right).sum(axis=1),
        candidates.sum(axis=1),
        right.sum(axis=1),
    )


def _chance_of_hit(
    drawn: Int[np.ndarray, "q"], pool: Int[np.ndarray, "q"], good: Int[np.ndarray, "q"]
) -> Float64[np.ndarray, "q"]:
    """Probability that one of `good` is among `drawn` taken from `pool` without replacement (hypergeometric)."""
    drawn, bad = np.clip(drawn, 0, pool), pool - good

    def ways(of: Int[np.ndarray, "q"]) -> Float64[np.ndarray, "q"]:
        return special.gammaln(of + 1.0) - special.gammaln(np.maximum(of - drawn, 0) + 1.0)

    return np.where(drawn > bad, 1.0, -np.expm1(np.minimum(ways(bad) - ways(pool), 0.0)))
