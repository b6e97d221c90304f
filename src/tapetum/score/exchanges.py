"""Groups exchanged between patients: what the gap between groups would be if belonging to one meant nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Real

from tapetum.score.inputs import same_length
from tapetum.score.stats.bounds import Clusters
from tapetum.score.stats.draws import cluster_codes

BLOCK = 250  # exchanges at once


def exchanged_groups(
    groups: Int[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    exchanges: int,
) -> Iterator[Int[np.ndarray, "b n"]]:
    """Deal the groups out anew, patient by patient.

    A patient whose images are all in one group exchanges it with another such patient who has, or who has not, an image
    with the finding as well, so that every group keeps its numbers of patients with and without. A patient with images
    in several groups exchanges these among their own images.

    Args:
        groups: the group of each image, 0, 1, ….
        labels: 1 = with the finding.
        clusters: the patient of each image.
        rng: the generator.
        exchanges: how many, in all.

    Yields:
        Blocks of exchanges: the group of each image in each.

    Raises:
        DataError: unequal lengths.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> next(exchanged_groups(np.array([0, 1]), np.array([1, 0]), ["a", "b"], rng=rng, exchanges=2)).tolist()
        [[0, 1], [0, 1]]
        >>> dealt = next(exchanged_groups(np.array([0, 1]), np.array([1, 1]), ["a", "b"], rng=rng, exchanges=50))
        >>> sorted(set(map(tuple, dealt.tolist())))
        [(0, 1), (1, 0)]
    """
    same_length(len(groups), len(labels))
    same_length(len(groups), len(clusters), "clusters")
    codes = cluster_codes(clusters)
    own = np.unique(np.stack([codes, groups], axis=1), axis=0)  # patient, group: each once
    count = np.bincount(own[:, 0], minlength=int(codes.max(initial=-1)) + 1)
    ill = np.bincount(codes, weights=np.asarray(labels) == 1, minlength=len(count)) > 0
    first = np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.intp)  # of a patient's rows in `own`
    for start in range(0, exchanges, BLOCK):
        size = min(BLOCK, exchanges - start)
        dealt = np.tile(own[:, 1], (size, 1))
        for stratum in (ill, ~ill):
            alone = first[(count == 1) & stratum]
            dealt[:, alone] = rng.permuted(dealt[:, alone], axis=1)
        for several in sorted({int(c) for c in count if c > 1}):
            places = first[count == several][:, None] + np.arange(several)
            dealt[:, places] = rng.permuted(dealt[:, places], axis=2)
        place = np.searchsorted(own[:, 0] * (own[:, 1].max() + 1) + own[:, 1], codes * (own[:, 1].max() + 1) + groups)
        yield dealt[:, place]
