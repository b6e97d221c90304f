"""Which patches of an image are seen, and what a tower says of those alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.pixels import patches_of
from tapetum.nets import Encoder
from tapetum.nets.roles import blocks_of


def drawn(
    rows: Int[np.ndarray, "b"], epoch: int, seed: int, count: int, share: float
) -> tuple[Int[Tensor, "b v"], Int[Tensor, "b m"]]:
    """The patches of each image that are seen and those that are masked, equally many in every image.

    What is drawn for an image follows from seed, epoch and row number, whatever batch it stands in.

    Args:
        rows: row numbers.
        epoch: from 0.
        seed: of the run.
        count: patches of an image, at least 2.
        share: of them that is masked, 0..1; at least one is masked and one is seen.

    Returns:
        Patch numbers, rising.

    Example:
        >>> seen, masked = drawn(np.array([7]), 0, 0, 4, 0.75)
        >>> sorted([*seen[0].tolist(), *masked[0].tolist()]), tuple(masked.shape)
        ([0, 1, 2, 3], (1, 3))
    """
    hidden = min(max(1, round(share * count)), count - 1)
    orders = np.stack([np.random.default_rng((seed, epoch + 1, int(row))).permutation(count) for row in rows])
    masked, seen = np.sort(orders[:, :hidden], axis=1), np.sort(orders[:, hidden:], axis=1)
    return torch.from_numpy(seen), torch.from_numpy(masked)


class SeenTokens:
    """The tokens of the patches that are seen, from a tower that knows nothing of the others.

    Transformers whose blocks pass one sequence on, and nothing else that depends on places, get the seen patches alone
    (so that a step costs less). Everywhere else the masked patches are painted in the mean colour, as the tower's
    normalisation has it, and the tokens of the seen ones are taken: a token may then have looked at paint.

    Args:
        encoder: whose tokens must tile the image.

    Raises:
        UsageError: they do not, or there are fewer than two.
    """

    def __init__(self, encoder: Encoder) -> None:
        rows, columns = encoder.spec.grid
        if rows != columns or rows < 2 or encoder.spec.size % rows:
            raise UsageError(
                f"{encoder.spec.name} has {rows} × {columns} tokens for {encoder.spec.size} pixels",
                "a square grid of two or more that tiles the image", "a larger size, or objective=simclr",
            )  # fmt: skip
        self.count = rows * columns
        self.side = encoder.spec.size // rows
        self.drops = _passes_one_sequence(encoder)

    def __call__(
        self, encoder: Encoder, x: Float[Tensor, "b 3 s s"], seen: Int[Tensor, "b v"]
    ) -> Float[Tensor, "b v e"]:
        """The seen tokens, in the order of `seen`."""
        if self.drops:
            with _only(encoder, seen, self.count):
                return picked(encoder.tokens(x), seen)
        return picked(encoder.tokens(self._painted(x, seen)), seen)

    def _painted(self, x: Float[Tensor, "b 3 s s"], seen: Int[Tensor, "b v"]) -> Float[Tensor, "b 3 s s"]:
        """0 outside the seen patches."""
        side = x.shape[-1] // self.side
        kept = torch.zeros(len(x), self.count, dtype=x.dtype, device=x.device).scatter_(1, seen, 1.0)
        mask = kept.view(-1, 1, side, side)
        return x * mask.repeat_interleave(self.side, 2).repeat_interleave(self.side, 3)


class Glance:
    """Draws masks, runs the tower on what is seen, and cuts out what is to be said of the rest.

    Args:
        encoder: whose tokens tile the image.
        share: of the patches that is masked, above 0 and below 1.
        seed: of the masks.

    Attributes:
        side: of a patch in pixels. grid: patches along a side of the image.

    Raises:
        UsageError: the tokens do not tile the image, or another share.
    """

    def __init__(self, encoder: Encoder, share: float, seed: int) -> None:
        if not 0 < share < 1:
            raise UsageError(f"masked={share}", "a share of the patches, above 0 and below 1", "masked=0.6")
        self.share, self.seed = share, seed
        self._tokens = SeenTokens(encoder)
        self.side, self.grid = self._tokens.side, encoder.spec.grid[0]

    def __call__(
        self, encoder: Encoder, x: Float[Tensor, "b 3 s s"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> tuple[Float[Tensor, "b v e"], Int[Tensor, "b v"], Int[Tensor, "b m"]]:
        """The tokens of the seen patches, their numbers, and those of the masked ones."""
        seen, masked = drawn(rows, epoch, self.seed, self._tokens.count, self.share)
        seen, masked = seen.to(x.device), masked.to(x.device)
        return self._tokens(encoder, x, seen), seen, masked

    def pixels(self, images: Float[Tensor, "b c s s"], masked: Int[Tensor, "b m"]) -> Float[Tensor, "b m p"]:
        """The pixels of the masked patches."""
        return picked(patches_of(images, self.side), masked)


def picked(tokens: Float[Tensor, "b t e"], places: Int[Tensor, "b v"]) -> Float[Tensor, "b v e"]:
    """The tokens at these places, image by image."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))


@contextmanager
def _only(encoder: Encoder, seen: Int[Tensor, "b v"], count: int) -> Generator[None]:
    """Inside, the blocks work on the seen patches; what comes after them finds the others as zeros."""
    blocks = [block for _, block in blocks_of(cast(nn.Module, encoder))]

    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        first = x.shape[1] - count  # class tokens and registers stand before the patches
        few = torch.cat([x[:, :first], picked(x[:, first:], seen)], dim=1)
        return ((few, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": few})

    def after(block: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        several = isinstance(output, tuple)
        few = cast(Tensor, output[0] if several else output)
        first = few.shape[1] - seen.shape[1]
        places = seen[..., None].expand(-1, -1, few.shape[2])
        patches = few.new_zeros(len(few), count, few.shape[2]).scatter(1, places, few[:, first:])
        whole = torch.cat([few[:, :first], patches], dim=1)
        return (whole, *cast(tuple[Any, ...], output)[1:]) if several else whole

    handles = [
        blocks[0].register_forward_pre_hook(before, with_kwargs=True),
        blocks[-1].register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _passes_one_sequence(encoder: Encoder) -> bool:
    """Whether every block takes the same sequence, patches last, and no other tensor (such as rotary positions)."""
    blocks = [block for _, block in blocks_of(cast(nn.Module, encoder))]
    shapes: list[tuple[int, ...]] = []
    others: list[object] = []

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else kwargs.get("hidden_states")
        shapes.append(tuple(x.shape) if isinstance(x, Tensor) else ())
        others.extend(args[1:])
        others.extend(value for key, value in kwargs.items() if args or key != "hidden_states")

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    with torch.no_grad():
        encoder(torch.zeros(1, 3, encoder.spec.size, encoder.spec.size))
    for handle in handles:
        handle.remove()
    grid = encoder.spec.grid[0] * encoder.spec.grid[1]
    alike = len(shapes) == len(blocks) and len(set(shapes)) == 1 and len(shapes[0]) == 3 and shapes[0][1] >= grid
    return alike and all(value is None or isinstance(value, bool | int | float | str) for value in others)
