"""Where a tower begins that learns: refined first, without labels, on the very images that it then learns from."""

from __future__ import annotations

import dataclasses

from tapetum.archive import Archive
from tapetum.core.errors import UsageError
from tapetum.core.types import Embeddings
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.features.embed import embed
from tapetum.learn.pretext.run import SelfSupervisionConfig, self_supervise


def refined(
    pictures: Pictures, rows: Embeddings, config: SelfSupervisionConfig
) -> tuple[Pictures, Embeddings, tuple[str, ...]]:
    """A self-supervised stage before the one with labels.

    Args:
        pictures: of one archive, with the tower to begin with; they are left as they are.
        rows: images to be taught, and no others are looked at.
        config: of the stage.

    Returns:
        Pictures whose tower is the refined one, features of the rows as it gives them, and what a person must read of
        the stage.

    Raises:
        UsageError: several archives or towers, an unknown task, or one that this tower cannot do. DataError: fewer than
            two images.
    """
    archive = pictures.archive
    if not isinstance(archive, Archive):
        raise UsageError("a start without labels for several archives", "one archive", "leave starts out")
    begun = self_supervise(archive, pictures.embedder(), config, image_ids=rows.image_ids)
    moved = dataclasses.replace(pictures, state=begun.states[0])
    found = embed(archive, moved.embedder(), image_ids=rows.image_ids)
    return moved, found, begun.alarms
