"""How much memory a training step will take, before it is taken, and what the hardware can do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tapetum.core.errors import UsageError

ADAM = 2  # numbers that AdamW keeps for each one that it trains


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of a training step by what they are for.

    Attributes:
        weights: parameters and buffers. gradients, optimiser: of what is trained. copies: average and best weights.
        batch: the inputs. activations: what the forward pass keeps for the backward pass.
    """

    weights: int
    gradients: int
    optimiser: int
    copies: int
    batch: int
    activations: int

    @property
    def total(self) -> int:
        """All of them together."""
        return self.weights + self.gradients + self.optimiser + self.copies + self.batch + self.activations

    def line(self) -> str:
        """One line for a person, in GB of 10⁹ bytes."""
        parts = {k: v for k, v in vars(self).items() if v}
        return f"{self.total / 1e9:.2f} GB: " + ", ".join(f"{k} {v / 1e9:.2f}" for k, v in parts.items())


def memory_estimate(
    module: nn.Module, batch_bytes: int, *, activations: int = 0, average: bool = False, held_out: bool = True
) -> MemoryEstimate:
    """What training the module takes at its peak, the runtime's own memory left out.

    Args:
        module: as it will be trained: only what requires a gradient costs gradient and optimiser.
        batch_bytes: of the inputs of one batch.
        activations: of one batch, see `activation_bytes`.
        average: a moving average is kept.
        held_out: the best weights are kept beside the present ones.

    Returns:
        The bytes by what they are for.

    Example:
        >>> memory_estimate(nn.Linear(10, 10, bias=False), 0, held_out=False).total
        1600
    """
    state = sum(_bytes(t) for t in [*module.parameters(), *module.buffers()])
    trained = sum(_bytes(p) for p in module.parameters() if p.requires_grad)
    # The moving average is swapped in with a copy of the weights beside it.
    copies = 2 * trained * average + state * held_out
    return MemoryEstimate(state, trained, ADAM * trained, copies, batch_bytes, activations)


def activation_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, weights included only where it copies them.

    Args:
        forward: runs it, on a small batch; for a larger one the result grows in proportion.

    Returns:
        Bytes of the distinct memory that autograd saved.

    Example:
        >>> x = torch.ones(8, requires_grad=True)
        >>> activation_bytes(lambda: x.exp().sum())
        32
    """
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        forward()
    return sum(size for _, size in kept.values())


def refuse_too_large(estimate: MemoryEstimate, available: int = 0) -> None:
    """Refuse before hours are lost.

    Args:
        estimate: of the run.
        available: bytes, 0 = what this machine has free now, where it tells.

    Raises:
        UsageError: more than there is; the message names the largest part and what to change.
    """
    available = available or free_memory()
    if available and estimate.total > available:
        raise UsageError(
            f"training would take {estimate.line()}", f"at most {available / 1e9:.2f} GB, which are free",
            "a smaller batch, chunk=16 for a contrastive loss, unfreeze=last, or a smaller network",
        )  # fmt: skip


def free_memory() -> int:
    """Bytes that this machine could give now without swapping, 0 where it does not tell."""
    with contextlib.suppress(OSError), open("/proc/meminfo", encoding="ascii") as stream:  # noqa: PTH123
        for line in stream:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in os.sysconf_names else 0


def has_bf16(device: torch.device | str) -> bool:
    """Whether torch says that this device computes in bfloat16 by itself; never said of a CPU.

    Example:
        >>> has_bf16("cpu")
        False
    """
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return False
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
