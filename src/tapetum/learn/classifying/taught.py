"""What a classifier is taught: rows with labels, whose they are, where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import DataError

Inputs = Callable[[Int[np.ndarray, "b"], int], Tensor]
Changed = Callable[[str], Inputs]


@dataclass(frozen=True)
class Taught:
    """Training rows; none of their patients is ever tested.

    Args:
        features: standardised, about unit variance per column; where a tower learns too, its features before that.
        labels: `[n]` the class of each row, 0..k-1, or `[n k]` findings: 1, 0 or NaN.
        classes: how many columns of logits.
        groups: patient of each row.
        domains: number of the domain (clinic, camera) of each row, 0..; all 0 where there is one only.
        inputs: row numbers and the epoch, from 0, → what the network is given; None = rows of `features`.
        tower: a network from inputs to features that learns too (each fit trains a copy of it); None = frozen.
        changed: specs of `learn/augment` joined by `+` → inputs that these have changed, too; None = no pictures.
        held_out: probabilities of the classes by a model that saw neither the row nor its patient, made once for all
            methods that doubt labels; None = each makes its own (`classifying/doubt.py`).

    Raises:
        DataError: unequal lengths, a class outside 0..k-1, or a finding that is neither 1, 0 nor NaN.
    """

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"]
    classes: int
    groups: np.ndarray
    domains: Int[np.ndarray, "n"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    inputs: Inputs | None = None
    tower: nn.Module | None = None
    changed: Changed | None = None
    held_out: Float[np.ndarray, "n k"] | None = None

    def __post_init__(self) -> None:
        if not len(self.domains):
            object.__setattr__(self, "domains", np.zeros(len(self.labels), dtype=np.int64))
        if not len(self.features) == len(self.labels) == len(self.groups) == len(self.domains):
            found = f"{len(self.features)} rows, {len(self.labels)} labels, {len(self.groups)} patients"
            raise DataError(f"{found}, {len(self.domains)} domains", "as many of each")
        allowed = [*range(self.classes)] if self.exclusive else [0, 1]
        known = self.labels if self.exclusive else self.labels[~np.isnan(self.labels)]
        if not np.isin(known, allowed).all() or (not self.exclusive and self.labels.shape[1] != self.classes):
            raise DataError(
                f"labels of shape {self.labels.shape}", f"classes 0 to {self.classes - 1}, or [n k] 1, 0, NaN"
            )

    @property
    def exclusive(self) -> bool:
        """Whether each row has one class, and not findings that occur together."""
        return self.labels.ndim == 1

    @property
    def counts(self) -> Float[np.ndarray, "k"]:
        """Rows of each class, or with each finding."""
        if self.exclusive:
            return np.bincount(self.labels.astype(np.int64), minlength=self.classes).astype(np.float64)
        return np.nansum(self.labels, axis=0).astype(np.float64)

    def given(self, rows: Int[np.ndarray, "b"], epoch: int) -> Tensor:
        """What the network is given for these rows."""
        if self.inputs is not None:
            return self.inputs(rows, epoch)
        return torch.from_numpy(np.ascontiguousarray(self.features[rows], dtype=np.float32))

    def told(self, rows: Int[np.ndarray, "b"]) -> Tensor:
        """Their labels: int64 classes or float32 findings."""
        chosen = torch.from_numpy(np.ascontiguousarray(self.labels[rows]))
        return chosen.long() if self.exclusive else chosen.float()

    def only(self, rows: Int[np.ndarray, "m"]) -> Taught:
        """The same with some of the rows."""
        return dataclasses.replace(
            self, features=self.features[rows], labels=self.labels[rows], groups=self.groups[rows],
            domains=self.domains[rows],
            inputs=None if self.inputs is None else _some(self.inputs, rows),
            changed=None if self.changed is None else _some_changed(self.changed, rows),
            held_out=None if self.held_out is None else self.held_out[rows],
        )  # fmt: skip


def _some(inputs: Inputs, rows: Int[np.ndarray, "m"]) -> Inputs:
    """The same of some rows."""
    return lambda asked, epoch: inputs(rows[asked], epoch)


def _some_changed(changed: Changed, rows: Int[np.ndarray, "m"]) -> Changed:
    """The same of some rows."""

    def some(augment: str) -> Inputs:
        return _some(changed(augment), rows)

    return some
