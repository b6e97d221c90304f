"""What the rules of `learn/matching` share."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError

# One text has one row of features; rounding in the product of two equal unit vectors stays below this.
_ROUNDING = 1e-5


def equal_texts(words: Float[Tensor, "b t"]) -> Float[Tensor, "b b"]:
    """1 where the features of two texts are the same, else 0; the diagonal is 1."""
    unit = normalize(words, dim=1)
    same = (unit @ unit.T >= 1 - _ROUNDING).to(words.dtype)
    return same.fill_diagonal_(1.0)


def need_labels(labels: Float[Tensor, "b k"] | None, rule: str) -> Float[Tensor, "b k"]:
    """The labels.

    Raises:
        UsageError: there are none.
    """
    if labels is None:
        raise UsageError(
            f"matching={rule} needs findings read from the reports", "an archive with a domain pack",
            "matching=same_text",
        )  # fmt: skip
    return labels
