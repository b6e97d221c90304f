"""Variance of the AUROC when a patient brings several images, in closed form: intervals without resampling.

Equal to `delong` where every patient has one image; wider, as a rule, where two eyes of a patient resemble each other.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int, Real

from tapetum.core.types import Interval
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import placements
from tapetum.score.stats.bounds import Clusters, PairedDifference
from tapetum.score.stats.draws import cluster_codes
from tapetum.score.stats.normal import area_interval, difference

METHOD = "Obuchowski, patients as clusters"


def obuchowski_covariance(
    scores: Real[np.ndarray, "n m"], labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"], clusters: Clusters
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "m m"]]:
    """AUROC of several methods on the same images, and their covariance over patients.

    Args:
        scores: one column per method, any range.
        labels: 0, 1 or NaN (left out); a patient may have images of both classes.
        clusters: the patient of each image.

    Returns:
        The AUROCs (NaN when a class is absent) and the covariance (NaN with fewer than two patients of a class).

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.

    Source: Obuchowski, Biometrics 1997. Differs: nothing.
    """
    same_length(len(scores), len(labels))
    same_length(len(scores), len(clusters), "clusters")
    values, truth = finite_scores(scores), known_labels(labels)
    positives, negatives = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    methods, unknown = values.shape[1], np.full((values.shape[1], values.shape[1]), np.nan)
    if not len(positives) or not len(negatives):
        return np.full(methods, np.nan), unknown
    areas, of_positives, of_negatives = _apart(values, positives, negatives)
    codes = cluster_codes(np.asarray(clusters)[~np.isnan(truth)])
    place = np.full(len(truth), -1)
    place[~np.isnan(truth)] = codes
    patients = int(codes.max()) + 1
    ill, well = np.zeros((patients, methods)), np.zeros((patients, methods))
    np.add.at(ill, place[positives], of_positives)
    np.add.at(well, place[negatives], of_negatives)
    with_ill, with_well = len(np.unique(place[positives])), len(np.unique(place[negatives]))
    if min(with_ill, with_well) < 2:
        return areas, unknown
    m, n = len(positives), len(negatives)
    within = ill.T @ well * patients / (patients - 1) / (m * n)
    ones = ill.T @ ill * with_ill / (with_ill - 1) / m**2
    zeros = well.T @ well * with_well / (with_well - 1) / n**2
    return areas, ones + zeros + within + within.T


def auroc_influence(
    scores: Float64[np.ndarray, "n m"], labels: Float64[np.ndarray, "n"], codes: Int[np.ndarray, "n"], patients: int
) -> Float64[np.ndarray, "c m"]:
    """How far each patient moves each AUROC: the sums whose products over patients are the covariance.

    Args:
        scores: one column per method, no NaN.
        labels: 0, 1 or NaN (left out); both classes are there.
        codes: the number of each image's patient.
        patients: how many there are.

    Returns:
        One row per patient; each column sums to 0.
    """
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    _, of_positives, of_negatives = _apart(scores, positives, negatives)
    moved = np.zeros((patients, scores.shape[1]))
    np.add.at(moved, codes[positives], of_positives / len(positives))
    np.add.at(moved, codes[negatives], of_negatives / len(negatives))
    return moved


def obuchowski_interval(
    scores: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    level: float = 0.95,
) -> Interval:
    """AUROC with an interval that knows the patients, built on the logit scale so that it stays inside 0..1.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        level: 0..1.

    Returns:
        0..1, 0.5 by chance; NaN when a class is absent. Bounds NaN when the variance is 0 or unknown: classes fully
        apart, or fewer than two patients of a class.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: level outside 0..1.

    Example:
        >>> scores, labels = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.6]), np.array([0, 0, 1, 1, 0, 1])
        >>> print(obuchowski_interval(scores, labels, ["a", "a", "b", "b", "c", "d"]))
        0.889 [0.500, 0.985]
    """
    areas, covariance = obuchowski_covariance(scores[:, None], labels, clusters)
    return area_interval(float(areas[0]), float(covariance[0, 0]), method=METHOD, level=level)


def obuchowski_paired(
    scores_a: Real[np.ndarray, "n"],
    scores_b: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    level: float = 0.95,
) -> PairedDifference:
    """AUROC of a minus AUROC of b on the same images, with a z test that knows the patients.

    Args:
        scores_a: the first method, any range.
        scores_b: the second method, any range.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        level: 0..1.

    Returns:
        Difference with normal bounds and a two-sided p; when the variance is 0, p is 1 for equal AUROCs, else all NaN.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: level outside 0..1.
    """
    same_length(len(scores_a), len(scores_b), "rows of the second method")
    areas, covariance = obuchowski_covariance(np.stack([scores_a, scores_b], axis=1), labels, clusters)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return difference(float(areas[0] - areas[1]), variance, method=METHOD, level=level)


def _apart(
    scores: Float64[np.ndarray, "n m"], positives: Int[np.ndarray, "p"], negatives: Int[np.ndarray, "q"]
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "p m"], Float64[np.ndarray, "q m"]]:
    """The AUROCs, and the structural components of each class less the AUROC."""
    parts = [placements(column, positives, negatives) for column in scores.T]
    of_positives = np.stack([p for p, _ in parts], axis=1)
    of_negatives = np.stack([q for _, q in parts], axis=1)
    areas = of_positives.mean(axis=0)
    return areas, of_positives - areas, of_negatives - areas
