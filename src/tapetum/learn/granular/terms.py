"""The terms themselves: one loss per image, from vectors of unit length; nothing is learned here."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, normalize, softmax

POOLS = ("soft", "max")


def attended(
    query: Float[Tensor, "b q e"], given: Float[Tensor, "b m e"], present: Bool[Tensor, "b m"], sharpness: float
) -> Float[Tensor, "b q e"]:
    """What each query sees of what is given: its mean, weighted by a softmax of sharpness · cosine; at unit length.

    Args:
        query: unit vectors.
        given: unit vectors.
        present: which of the given count; at least one per image.
        sharpness: 1 / temperature of the softmax.
    """
    cosine = (query @ given.transpose(1, 2)).masked_fill(~present[:, None], float("-inf"))
    return normalize(softmax(sharpness * cosine, 2) @ given, dim=2)


def pieces_seen(
    tokens: Float[Tensor, "b t e"],
    pieces: Float[Tensor, "u e"],
    place: Int[Tensor, "b s"],
    *,
    scale: Float[Tensor, ""],
    sharpness: float,
) -> Float[Tensor, "b"]:
    """The part of an image that a piece of its text attends to shall look like this piece and no other of the batch.

    Args:
        tokens: unit vectors.
        pieces: unit vectors, each different piece of the batch once.
        place: of the pieces of each image their rows of `pieces`, −1 where there is none; at least one per image.
        scale: multiplier of the cosines.
        sharpness: of the attention.

    Returns:
        Mean over the pieces of an image, in nats; ln(u) where tokens say nothing.
    """
    present, own = place >= 0, place.clamp_min(0)
    everywhere = torch.ones(tokens.shape[:2], dtype=torch.bool)
    seen = attended(pieces[own], tokens, everywhere, sharpness)
    found = log_softmax(scale * seen @ pieces.T, 2).gather(2, own[:, :, None])[:, :, 0]
    return -(found * present).sum(1) / present.sum(1)


def tokens_told(
    tokens: Float[Tensor, "b t e"],
    pieces: Float[Tensor, "u e"],
    place: Int[Tensor, "b s"],
    *,
    scale: Float[Tensor, ""],
    sharpness: float,
) -> Float[Tensor, "b"]:
    """What a token reads in the pieces of its own text shall fit it better than what the other tokens read, both ways.

    Args:
        tokens: unit vectors.
        pieces: unit vectors.
        place: of the pieces of each image their rows of `pieces`, −1 where there is none; at least one per image.
        scale: multiplier of the cosines.
        sharpness: of the attention.

    Returns:
        Mean over the tokens of an image and both directions, in nats, ln(t) where pieces say nothing; 0 for an image
        with a single piece, all of whose tokens read the same.
    """
    present, own = place >= 0, place.clamp_min(0)
    read = attended(tokens, pieces[own], present, sharpness)
    logits = scale * tokens @ read.transpose(1, 2)
    both = log_softmax(logits, 2) + log_softmax(logits, 1)
    return -both.diagonal(dim1=1, dim2=2).mean(1) / 2 * (present.sum(1) > 1)


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "b k"], *, sharpness: float, rounds: int) -> Float[Tensor, "b k"]:
    """Soft assignment of rows to columns in which all columns are used alike.

    Args:
        scores: cosines.
        sharpness: 1 / ε of the entropy.
        rounds: of bringing columns, then rows to equal sums.

    Returns:
        Each row sums to 1, each column nearly to rows / columns.

    Source: Cuturi, NeurIPS 2013, arXiv 1306.0895; as used by Caron et al. (SwAV), NeurIPS 2020, arXiv 2006.09882.

    Example:
        >>> sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), sharpness=5.0, rounds=3)
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    logs = sharpness * scores
    for _ in range(rounds):
        logs = log_softmax(log_softmax(logs, 0), 1)
    return logs.exp()


def swapped(
    image: Float[Tensor, "b e"],
    text: Float[Tensor, "b e"],
    prototypes: Float[Tensor, "k e"],
    *,
    scale: float,
    sharpness: float,
    rounds: int,
) -> Float[Tensor, "b"]:
    """An image shall be assigned to prototypes as its text is, and the text as its image.

    Args:
        image: unit vectors.
        text: unit vectors.
        prototypes: brought to unit length here.
        scale: multiplier of the cosines in what predicts.
        sharpness: of `sinkhorn`, which gives the targets.
        rounds: of `sinkhorn`.

    Returns:
        Mean of both cross-entropies in nats; ln(k) where nothing is known.
    """
    towards = normalize(prototypes, dim=1).T
    of_image, of_text = image @ towards, text @ towards
    targets = [sinkhorn(s, sharpness=sharpness, rounds=rounds) for s in (of_text, of_image)]
    both = [-(t * log_softmax(scale * s, 1)).sum(1) for t, s in zip(targets, (of_image, of_text), strict=True)]
    return (both[0] + both[1]) / 2


def concept_scores(
    tokens: Float[Tensor, "b t e"], concepts: Float[Tensor, "k e"], *, pool: str, sharpness: float
) -> Float[Tensor, "b k"]:
    """How much of each concept the place of an image holds that holds most of it.

    Args:
        tokens: unit vectors.
        concepts: unit vectors.
        pool: `max` = the best token; `soft` = mean of the cosines, weighted by a softmax of sharpness · cosine.
        sharpness: of the soft pool.

    Returns:
        Cosines.
    """
    cosine = tokens @ concepts.T
    return cosine.amax(1) if pool == "max" else (softmax(sharpness * cosine, 1) * cosine).sum(1)


def concept_loss(
    logits: Float[Tensor, "b k"], labels: Float[Tensor, "b k"], weight: Float[Tensor, "b k"]
) -> Float[Tensor, "b"]:
    """Binary cross-entropy of every concept, weighted.

    Args:
        logits: log odds that a report affirms a concept.
        labels: whether it does.
        weight: of each, see `both_kinds_alike`.

    Returns:
        Mean over the concepts in nats.
    """
    return (weight * binary_cross_entropy_with_logits(logits, labels, reduction="none")).mean(1)


def both_kinds_alike(labels: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """Weights of images with and without each concept, such that both kinds sum to half of the images.

    Returns:
        Two rows, of the images with and of those without it; 0 for a concept that all images have or none.

    Example:
        >>> both_kinds_alike(torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
        (tensor([2.]), tensor([0.6667]))
    """
    count, have = len(labels), labels.sum(0)
    taught = (have > 0) & (have < count)
    none = torch.zeros_like(have)
    return (
        torch.where(taught, count / 2 / have.clamp_min(1), none),
        torch.where(taught, count / 2 / (count - have).clamp_min(1), none),
    )
