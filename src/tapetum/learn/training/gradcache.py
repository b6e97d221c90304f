"""Large contrastive batches in little memory: embed in chunks, and again chunk by chunk for the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tapetum.core.errors import UsageError

EmbedRows = Callable[[np.ndarray], Float[Tensor, "b d"]]


def cached_embedding(embed: EmbedRows, rows: Int[np.ndarray, "b"], chunk: int) -> Float[Tensor, "b d"]:
    """The embeddings of all rows, as if computed at once, with the memory of one chunk.

    They are computed chunk by chunk without a graph; the loss sees them all. On `backward`, each chunk is computed
    again with a graph and given its part of the gradient. Costs one forward pass more, changes no gradient.

    Args:
        embed: row numbers → embeddings; asked twice for the same rows, so that what it draws must follow from the rows
            (as `Loader` does) or come from torch's global generator, whose state is put back.
        rows: of the whole batch.
        chunk: rows at a time; 0 = all at once, without this method.

    Returns:
        One row each; `backward` adds to the gradients of whatever parameters `embed` uses.

    Raises:
        UsageError: a negative chunk.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> x = torch.ones(5, 2)
        >>> cached_embedding(lambda r: layer(x[torch.from_numpy(r)]), np.arange(5), 2).sum().backward()
        >>> layer.bias.grad
        tensor([5., 5.])

    Source: Gao et al., Scaling deep contrastive learning batch size under memory limited setup, RepL4NLP 2021,
    arXiv 2101.06983. Differs: one autograd function instead of three passes in the training loop.
    """
    if chunk < 0:
        raise UsageError(f"chunk={chunk}", "rows at a time, 0 = all", "chunk=16")
    if not chunk or len(rows) <= chunk:
        return embed(rows)
    parts = [rows[i : i + chunk] for i in range(0, len(rows), chunk)]
    if not torch.is_grad_enabled():
        return torch.cat([embed(part) for part in parts])
    # Without an input that requires a gradient, autograd would not call back.
    anchor = torch.zeros((), requires_grad=True)
    return cast(Tensor, _Cached.apply(anchor, embed, parts))


def refuse_batch_statistics(module: nn.Module) -> None:
    """Refuse a module whose output for a row depends on the other rows of its chunk.

    Raises:
        UsageError: batch normalisation in training mode.
    """
    for name, layer in module.named_modules():
        if layer.training and isinstance(layer, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
            raise UsageError(
                f"{name} normalises by the batch: a chunk is not the batch", "batch statistics that are frozen",
                "module.eval(), or chunk=0",
            )  # fmt: skip


class _Cached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, embed: EmbedRows, parts: list[np.ndarray]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        del anchor
        ctx.embed, ctx.parts, ctx.states = embed, parts, []
        found: list[Tensor] = []
        for part in parts:
            ctx.states.append((torch.get_rng_state(), _cuda_states()))
            found.append(embed(part))
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        start = 0
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            for part, (state, cuda) in zip(ctx.parts, ctx.states, strict=True):
                torch.set_rng_state(state)
                if cuda:
                    torch.cuda.set_rng_state_all(cuda)
                with torch.enable_grad():
                    again = ctx.embed(part)
                torch.autograd.backward(again, gradient[start : start + len(part)])
                start += len(part)
        return None, None, None


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
