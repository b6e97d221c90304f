"""Losses that tell an image's other view from other images."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def nt_xent(first: Float[Tensor, "b d"], second: Float[Tensor, "b d"], *, temperature: float) -> Float[Tensor, "b"]:
    """Each view against the 2b − 1 other views of the batch, in nats; the mean of an image's two views.

    Args:
        first: embeddings of one view of the images, of any length.
        second: of the other view.
        temperature: divides the cosines, above 0.

    Example:
        >>> two = torch.eye(2)
        >>> nt_xent(two, two, temperature=1.0)  # −ln(e / (e + 2))
        tensor([0.5514, 0.5514])
    """
    count = len(first)
    unit = normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(2 * count, dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    partner = torch.arange(2 * count, device=unit.device).roll(count)
    return cross_entropy(logits, partner, reduction="none").view(2, count).mean(0)


def info_nce(
    query: Float[Tensor, "b d"],
    key: Float[Tensor, "b d"],
    queue: Float[Tensor, "q d"],
    *,
    temperature: float,
    same: Bool[Tensor, "b q"] | None = None,
) -> Float[Tensor, "b"]:
    """Each query against its own key and a queue of other keys, in nats.

    Args:
        query: one row per image, of any length.
        key: of another view of the same images.
        queue: of length 1.
        temperature: divides the cosines, above 0.
        same: which keys of the queue show the query's own image; they are no negatives.

    Example:
        >>> info_nce(torch.eye(2), torch.eye(2), torch.tensor([[0.0, -1.0]]), temperature=1.0)
        tensor([0.3133, 0.1269])
    """
    query, key = normalize(query, dim=1), normalize(key, dim=1)
    others = query @ queue.T
    if same is not None:
        others = others.masked_fill(same, -torch.inf)
    logits = torch.cat([(query * key).sum(1, keepdim=True), others], dim=1) / temperature
    return cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device), reduction="none")


def self_distillation(
    student_logits: Float[Tensor, "b k"],
    teacher_logits: Float[Tensor, "b k"],
    centre: Float[Tensor, "k"],
    *,
    student: float,
    teacher: float,
) -> Float[Tensor, "b"]:
    """Cross-entropy of the student under the teacher's sharpened, centred distribution, in nats; no gradient to it.

    Args:
        student_logits: of one view.
        teacher_logits: of another view of the same images.
        centre: taken off the teacher's logits, so that no class wins everywhere.
        student: its temperature, above 0.
        teacher: its temperature, lower.

    Example:
        >>> even = torch.zeros(1, 4)
        >>> self_distillation(even, even, torch.zeros(4), student=0.1, teacher=0.04)  # ln 4
        tensor([1.3863])
    """
    target = ((teacher_logits.detach() - centre) / teacher).softmax(1)
    return -(target * (student_logits / student).log_softmax(1)).sum(1)
