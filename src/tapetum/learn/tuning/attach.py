"""What tuners share: freezing, the ceiling of 1 %, and tokens that are put before those of a transformer."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.nets import Encoder
from tapetum.nets.roles import blocks_of

CEILING = 0.01
_INSTEAD = "lora() where it has pointwise convolutions, last() or full()"


def module_of(encoder: Encoder) -> nn.Module:
    """The encoder as the `torch.nn.Module` that every member of the family is."""
    return cast(nn.Module, encoder)


def freeze(encoder: Encoder) -> int:
    """Let no parameter require a gradient, in evaluation mode; returns how many numbers the parameters hold."""
    module = module_of(encoder)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.eval()
    return sum(p.numel() for p in module.parameters())


def trainable(encoder: Encoder) -> dict[str, nn.Parameter]:
    """Name → parameter of those that require a gradient."""
    return {name: p for name, p in module_of(encoder).named_parameters() if p.requires_grad}


def refuse_above_ceiling(added: int, frozen: int, tuner: str, smaller: str) -> None:
    """A delta is to stay small beside its network.

    Args:
        added: numbers that would be trained.
        frozen: numbers of the network.
        tuner: as written.
        smaller: which option to lower.

    Raises:
        UsageError: `added` is more than 1 % of `frozen`.

    Example:
        >>> refuse_above_ceiling(9, 1000, "lora(rank=8)", "rank=1")
    """
    if added > CEILING * frozen:
        raise UsageError(
            f"{tuner} trains {added} numbers, {added / frozen:.2%} of the network's {frozen}",
            f"at most {CEILING:.0%}: {int(CEILING * frozen)}", smaller,
        )  # fmt: skip


class Prompts(nn.Module, abc.ABC):
    """Tokens put before those of a transformer: made anew for each block (`deep`), or once before the first.

    Abstract: `made` gives them. They stand before all other tokens: positions are added earlier, and rotary ones count
    the patches from the end of the sequence.

    Args:
        count: tokens.
        deep: each block gets its own, which take the place of the block's before.
    """

    def __init__(self, count: int, *, deep: bool) -> None:
        super().__init__()
        self.count = count
        self.deep = deep

    @abc.abstractmethod
    def made(self, place: int, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b p d"]:
        """The tokens to put before block number `place`, whose own input is `tokens`."""

    def insert(self, encoder: Encoder, blocks: list[nn.Module], tuner: str) -> None:
        """Hook the tokens into the blocks, and keep them as the encoder's part `prompts`.

        Raises:
            UsageError: the network cannot work with further tokens; it is left as it was.
        """
        handles = [
            block.register_forward_pre_hook(_Before(self, place), with_kwargs=True)
            for place, block in enumerate(blocks)
            if self.deep or place == 0
        ]
        handles.append(blocks[-1].register_forward_hook(_After(self)))
        try:
            with torch.no_grad():
                shape = tuple(encoder.tokens(_image(encoder)).shape)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            for handle in handles:
                handle.remove()
            raise _no_sequence(encoder, tuner, f"it fails with further tokens: {error}") from None
        rows, columns = encoder.spec.grid
        assert shape == (1, rows * columns, encoder.spec.token_dim)
        module_of(encoder).add_module("prompts", self)


class _Before:
    """Puts prompts before the tokens of one block; a class, so that a copied encoder copies it with its prompts."""

    def __init__(self, prompts: Prompts, place: int) -> None:
        self.prompts = prompts
        self.place = place

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        old = x if self.place == 0 else x[:, self.prompts.count :]
        new = torch.cat([self.prompts.made(self.place, old), old], dim=1)
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})


class _After:
    """Takes the prompts off again after the last block."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts

    def __call__(self, block: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            first, *rest = cast(tuple[Any, ...], output)
            return (first[:, self.prompts.count :], *rest)
        return output[:, self.prompts.count :]


def token_blocks(encoder: Encoder, tuner: str) -> tuple[list[nn.Module], int]:
    """The blocks of a transformer that pass one sequence of tokens on, and the width of a token.

    Args:
        encoder: run once on an empty image.
        tuner: as written, for the message.

    Raises:
        UsageError: convolutions, or a sequence that changes from block to block (Swin).
    """
    blocks = [block for _, block in blocks_of(module_of(encoder))]
    seen: list[tuple[int, ...]] = []

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else kwargs.get("hidden_states")
        seen.append(tuple(x.shape) if isinstance(x, Tensor) else ())

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    with torch.no_grad():
        encoder(_image(encoder))
    for handle in handles:
        handle.remove()
    grid = encoder.spec.grid[0] * encoder.spec.grid[1]
    if len(seen) != len(blocks) or len(set(seen)) != 1 or len(seen[0]) != 3 or seen[0][1] < grid:
        raise _no_sequence(encoder, tuner, f"its blocks take {list(dict.fromkeys(seen))[:4]}")
    return blocks, seen[0][2]


def ended(name: str, count: int, parameters: Iterator[nn.Parameter]) -> int:
    """Refuse a count below 1; else the numbers in the parameters.

    Raises:
        UsageError: count below 1.
    """
    if count < 1:
        raise UsageError(f"count={count} for {name}", "at least 1", f"{name}(count=10)")
    return sum(p.numel() for p in parameters)


def patch_fan(encoder: Encoder) -> int:
    """Numbers of the image that one patch sees: channels × height × width of the first convolution."""
    first = next((m for m in module_of(encoder).modules() if isinstance(m, nn.Conv2d)), None)
    return 3 * 16 * 16 if first is None else first.in_channels * first.kernel_size[0] * first.kernel_size[1]


def _image(encoder: Encoder) -> Float[Tensor, "1 3 s s"]:
    return torch.zeros(1, 3, encoder.spec.size, encoder.spec.size)


def _no_sequence(encoder: Encoder, tuner: str, why: str) -> UsageError:
    return UsageError(
        f"{encoder.spec.name} has no one sequence of tokens that {tuner} could be put into: {why}",
        "a transformer such as ViT, DINOv2, DINOv3, SigLIP or CLIP", f"another tuner: {_INSTEAD}",
    )  # fmt: skip
