"""White blood cells of segmentation_WBC, data set 2: images published by CellaVision, standard stain, 300 px.

The set publishes no patients: each image stands as a patient of its own. The two data sets of the source are different
devices and stains, hence two archives: learn on one, test on the other.

Source: Zheng, Wang, Wang, Liu, Micron 2018. Differs: the masks are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.blood import cells
from tapetum.archive.exports.card import Card
from tapetum.archive.rows import Note, Refusal, Row

__all__ = ["wbc_cellavision"]

CARD = Card(
    name="segmentation_WBC, data set 2",
    licence="GPL-3 (a file of its repository)",
    source="Zheng et al., Micron 2018",
    layout={"labels2.csv": ("image ID", "class"), "dataset2/": ("PNG",)},
    counts={"images": 100},
    modality="microscopy",
)


def wbc_cellavision(root: Path) -> Iterator[Row | Refusal | Note]:
    """Rows of the images, the kind of cell as the label.

    Args:
        root: the folder with `labels2.csv` and `dataset2/`.

    Raises:
        DataError: one of the two, or a column, is missing.
    """
    yield from cells(root, CARD)
