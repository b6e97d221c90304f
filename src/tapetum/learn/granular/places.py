"""How like a finding's words each place of an image is, for images of an archive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64

from tapetum.archive import Archive
from tapetum.core.errors import UsageError
from tapetum.learn.features.embed import decode_side
from tapetum.learn.fitting.standardise import signed_root
from tapetum.learn.model import Model


def place_cosines(
    model: Model, archive: Archive, image_ids: Sequence[str], words: Float[np.ndarray, "k e"], *, threads: int = 0
) -> Float64[np.ndarray, "n t k"]:
    """Cosines of words with the places of each image, each taken for an image that looks like it all over.

    Every image is read again and sent through the towers; nothing is cached.

    Args:
        model: with an aligner.
        archive: that holds the images.
        image_ids: of them.
        words: unit vectors in the common space.
        threads: 0 = all cores.

    Raises:
        UsageError: the model has no aligner.
    """
    if model.aligner is None:
        raise UsageError("the model has no aligner", "a model from `tapetum pretrain`")
    embedder = model.embedder(threads=threads, cache=archive.cache / "onnx")
    side = max(decode_side(p.size) for p in embedder.preprocess)
    aligner, found = model.aligner, list[np.ndarray]()
    power = float(aligner.power)
    for image_id in image_ids:
        parts: list[torch.Tensor] = []
        for tokens in embedder.tokens([archive.pixels(image_id, min_side=side)]):
            columns = slice(*embedder.blocks[tokens.block])
            rooted = torch.from_numpy(signed_root(tokens.tokens[0], power))
            rows = (rooted - aligner.image_mean[columns]) / aligner.image_scale[columns]
            parts.append(rows @ aligner.image_weight[columns].detach() + aligner.image_bias.detach())
        encoded = torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy().astype(np.float64)
        found.append(encoded @ words.T)
    return np.stack(found)
