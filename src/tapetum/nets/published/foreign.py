"""An image encoder around a tower of any published layout: named blocks, tokens, and how its pixels are prepared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.nets.spec import EncoderSpec, state_digest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Pixels:
    """How the weights' authors prepare an image: side, mean and standard deviation on 0..1, resampling."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str


class ForeignEncoder(nn.Module):
    """An encoder as every other, around a tower that gives named vectors and tokens.

    Args:
        tower: `tower(x)` → (vectors for the whole image by name, tokens row by row).
        name: of the spec. pixels: what it is fed.
        local: name of the block that holds the mean of the tokens.

    Raises:
        UsageError: the tower takes no images of that size. ArtefactError: its tokens are no square.
    """

    def __init__(self, tower: nn.Module, name: str, pixels: Pixels, *, local: str = "patch") -> None:
        super().__init__()
        self.tower = tower.eval()
        try:
            with torch.inference_mode():
                whole, tokens = tower(torch.zeros(1, 3, pixels.size, pixels.size))
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"{name} takes no images of size={pixels.size}: {error}", "its own size") from error
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            raise ArtefactError(f"{name} gives {tokens.shape[1]} tokens", "a square number of them")
        blocks: dict[str, tuple[int, int]] = {}
        end = 0
        for block, width in (*((k, int(v.shape[1])) for k, v in whole.items()), (local, int(tokens.shape[2]))):
            blocks[block] = (end, end + width)
            end += width
        self.spec = EncoderSpec(
            name=name,
            size=pixels.size,
            mean=pixels.mean,
            std=pixels.std,
            dim=end,
            grid=(side, side),
            blocks=blocks,
            token_dim=int(tokens.shape[2]),
            token_block=local,
            weights_digest=state_digest(self),
            resample=pixels.resample,
        )

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The vectors for the whole image and the mean of the tokens, side by side."""
        whole, tokens = self.tower(x)
        return torch.cat([*whole.values(), tokens.mean(1)], dim=1)

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        """Local features, row by row."""
        return self.tower(x)[1]


def weights_file(weights: Path | str, names: tuple[str, ...], where_from: str) -> Path:
    """The file of weights: the one that is named, or the first of `names` in a folder.

    Args:
        weights: a file or a folder.
        names: what is looked for in a folder, in this order.
        where_from: where the weights are published and how they come here, for the message.

    Raises:
        ArtefactError: nothing there.
    """
    path = Path(weights)
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    what = f"none of {', '.join(names)} in {path}" if path.is_dir() else f"no weights at {path}"
    raise ArtefactError(what, "a file that you placed there; nothing is ever downloaded", where_from)


def three_numbers(values: Any) -> tuple[float, ...]:
    """Three numbers of a JSON list; nothing where it is something else.

    Example:
        >>> three_numbers([0.5, 1, 0]), three_numbers("0.5"), three_numbers([1, 2])
        ((0.5, 1.0, 0.0), (), ())
    """
    numbers = [float(v) for v in values if isinstance(v, int | float)] if isinstance(values, list) else []
    return tuple(numbers) if len(numbers) == 3 and len(values) == 3 else ()


def stem_of(path: Path) -> str:
    """A short name for weights: the file's stem, or the folder's name where every file is called the same."""
    return path.parent.name if path.stem in {"model", "open_clip_model", "pytorch_model"} else path.stem
