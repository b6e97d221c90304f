"""Weights of rows and statistics of domains, for methods that know where a row comes from."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.taught import Taught

SMALL = 1e-6


def refuse_one_domain(taught: Taught, name: str) -> None:
    """Raises:
    UsageError: there is one domain only.
    """
    if len(np.unique(taught.domains)) < 2:
        raise UsageError(
            f"{name} with one domain", "rows of two or more domains", "method one_stage, or latent_domains"
        )


def refuse_findings(taught: Taught, name: str) -> None:
    """Raises:
    UsageError: the labels are findings that occur together.
    """
    if not taught.exclusive:
        raise UsageError(f"{name} with findings", "one class each", "finding by finding, as present or absent")


def refuse_inputs(taught: Taught, name: str) -> None:
    """Raises:
    UsageError: the network is given something else than rows of features.
    """
    if taught.inputs is not None or taught.tower is not None:
        raise UsageError(f"{name} with a tower that learns", "frozen features", "mode=frozen")


def refuse_frozen(taught: Taught, name: str) -> None:
    """Raises:
    UsageError: there are features that stay, and no tower.
    """
    if taught.tower is None:
        raise UsageError(f"{name} on frozen features", "pictures that a tower learns from", "mode=finetune")


def evened(taught: Taught, power: float) -> Float64[np.ndarray, "n"]:
    """Weights of the rows, mean 1, that make cells of domain and class more alike.

    Args:
        taught: rows with one class each.
        power: a cell with n rows weighs as n ** (1 - power): 0 = as it is, 1 = every cell alike.

    Example:
        >>> taught = Taught(np.zeros((4, 1)), np.array([0, 0, 0, 1]), 2, np.arange(4))
        >>> evened(taught, 1.0).round(3).tolist()
        [0.667, 0.667, 0.667, 2.0]
    """
    cell = np.unique(np.stack([taught.domains, taught.labels]), axis=1, return_inverse=True)[1].ravel()
    weights = np.bincount(cell)[cell].astype(np.float64) ** -power
    return weights / weights.mean()


def domain_statistics(
    features: Float[np.ndarray, "n d"], domains: Int[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "g d"], Float64[np.ndarray, "g d"]]:
    """Mean and standard deviation of each column in each domain, in the order of their numbers; no deviation is 0."""
    parts = [features[domains == d].astype(np.float64) for d in np.unique(domains)]
    return np.stack([p.mean(0) for p in parts]), np.stack([np.maximum(p.std(0), SMALL) for p in parts])
