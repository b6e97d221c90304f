"""Ridge regression from image features to whitened text embeddings, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.closed_form import solve_aligner
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["Ridge"]


@dataclass(frozen=True)
class Ridge:
    """Predict the whitened text embedding of an image's report; seconds on a CPU, one global optimum.

    Args:
        power: exponent of the signed root on image features.
        shrinkage: of the text whitening, as a share of its largest variance; larger keeps rare words quieter.
        penalty: of the regression, 0 = choose on inner patient folds.
        folds: number of inner patient folds.

    Source: Hoerl and Kennard, Technometrics 1970 (ridge). Differs: dual form; the targets are text embeddings; the
    penalty is chosen by how well each distinct text separates its own held-out images from the others (AUROC).
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()

    power: float = 0.5
    shrinkage: float = 0.03
    penalty: float = 0.0
    folds: int = 4

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Solve for the aligner; the log holds the penalty and the inner quality of every one tried."""
        del watch
        return solve_aligner(
            pairs, rng, power=self.power, shrinkage=self.shrinkage, penalty=self.penalty, folds=self.folds
        )
