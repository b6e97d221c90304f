"""What a student is trained for: the teacher's probabilities, and the labels where they are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus


@dataclass(frozen=True)
class SoftAndHard:
    """The loss of a student: `soft` parts what the teacher says, the rest what the labels say.

    Soft part: T²·KL(σ(teacher / T) ‖ σ(student / T)) per finding, 0 where the student says the same. Hard part:
    −(1 − p)^focal · log p with p the student's probability of the truth. Where no label is known, the soft part is all.

    Attributes:
        teacher: log odds. labels: 0, 1, NaN unknown.
        soft: 0..1. temperature: above 0; higher looks more at which images are a little suspicious. focal: 0 or more.

    Example:
        >>> goal = SoftAndHard(torch.zeros(1, 1), torch.ones(1, 1), soft=0.0, temperature=1.0, focal=0.0)
        >>> round(float(goal(torch.zeros(1, 1), np.array([0]))), 4)
        0.6931

    Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2 (temperature and its T²); Lin et al., ICCV 2017,
    arXiv 1708.02002 (focal). Differs: findings occur together, so each is a question of its own with two answers; the
    divergence stands for the cross-entropy, which differs by a constant and is not 0 for a perfect student.
    """

    teacher: Float[Tensor, "n k"]
    labels: Float[Tensor, "n k"]
    soft: float
    temperature: float
    focal: float

    def __call__(self, logits: Float[Tensor, "b k"], rows: Int[np.ndarray, "b"]) -> Float[Tensor, "b"]:
        """Mean over the findings, in nats."""
        place = torch.from_numpy(rows)
        soft = divergence(self.teacher[place], logits, self.temperature)
        truth = self.labels[place]
        known = ~truth.isnan()
        hard = focal_loss(logits, truth.nan_to_num(0.0), self.focal)
        return (self.soft * soft + (1 - self.soft) * hard * known).mean(1)


def divergence(
    teacher: Float[Tensor, "b k"], student: Float[Tensor, "b k"], temperature: float
) -> Float[Tensor, "b k"]:
    """T²·KL of yes and no between two sets of log odds, softened by a temperature; in nats, 0 where they are equal.

    Example:
        >>> float(divergence(torch.ones(1, 1), torch.ones(1, 1), 2.0))
        0.0
    """
    t, s = teacher / temperature, student / temperature
    yes = torch.sigmoid(t)
    apart = yes * (logsigmoid(t) - logsigmoid(s)) + (1 - yes) * (softplus(s) - softplus(t))
    return temperature**2 * apart


def focal_loss(logits: Float[Tensor, "b k"], labels: Float[Tensor, "b k"], focal: float) -> Float[Tensor, "b k"]:
    """−(1 − p)^focal · log p of the truth, in nats; focal 0 is the cross-entropy.

    Example:
        >>> round(float(focal_loss(torch.zeros(1, 1), torch.ones(1, 1), 1.0)), 4)
        0.3466
    """
    each = binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if focal == 0:
        return each
    miss = torch.sigmoid(torch.where(labels > 0.5, -logits, logits))
    return miss**focal * each
