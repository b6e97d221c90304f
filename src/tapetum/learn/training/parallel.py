"""The same loop in several processes: every one computes its part of the same global batch.

Start with `torchrun`, call `launched()`, and set `LoopSettings.parallel`. `ddp` keeps the whole module everywhere;
`fsdp` spreads parameters, gradients and optimiser over the processes (FSDP2, `fully_shard`); `after` is `ddp` with the
gradients averaged when the backward pass is over, for losses that call `backward` inside (`training/gradcache.py`).
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch import distributed as dist

from tapetum.core.errors import UsageError

MODES = ("", "ddp", "fsdp", "after")
_LruCache = type(functools.lru_cache(lambda: None))
LossOf = Callable[[np.ndarray, int], Float[Tensor, "b"]]


@contextlib.contextmanager
def launched(backend: str = "") -> Generator[None]:
    """Join the processes that `torchrun` started, and leave them at the end.

    Args:
        backend: of `torch.distributed`; empty = nccl where there is a GPU, else gloo.

    Raises:
        UsageError: not started by `torchrun`.
    """
    if not dist.is_torchelastic_launched():
        raise UsageError(
            "this process was not started by torchrun", "several processes", "torchrun --nproc-per-node 2 …"
        )
    # As default arguments these modules would hold the group, if they were first imported after it: see `_let_go`.
    import torch.distributed.fsdp  # pyright: ignore[reportUnusedImport]
    import torch.distributed.nn.functional  # pyright: ignore[reportUnusedImport]

    dist.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))
    try:
        yield
    finally:
        _let_go()
        dist.destroy_process_group()


def _let_go() -> None:
    """Drop what torch keeps of the group beyond its end: the caches of tensors that FSDP spread over it.

    While anything holds the group, its threads run on; one that still frees the tensors of the last message when the
    interpreter ends aborts the process now and then ("terminate called without an active exception").
    """
    from torch.distributed.tensor import _redistribute, debug

    debug._clear_sharding_prop_cache()  # pyright: ignore[reportPrivateUsage]
    _redistribute.clear_redistribute_planner_cache()
    for cached in gc.get_objects():
        if type(cached) is _LruCache and (cached.__module__ or "").startswith("torch.distributed.tensor"):
            cached.cache_clear()
    gc.collect()


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        mode: `""` alone, `ddp`, `fsdp` or `after`. rank: number of this process. size: how many there are.
    """

    mode: str = ""
    rank: int = 0
    size: int = 1

    @staticmethod
    def of(mode: str) -> World:
        """The world as it is.

        Raises:
            UsageError: an unknown mode, or one for several processes without `launched()`.
        """
        if mode not in MODES:
            raise UsageError(f"parallel={mode!r}", " | ".join(repr(m) for m in MODES), "parallel='ddp'")
        if not mode:
            return ALONE
        if not dist.is_initialized():
            raise UsageError(f"parallel={mode!r} without other processes", "torchrun and launched()", "parallel=''")
        return World(mode, dist.get_rank(), dist.get_world_size())

    def share(self, module: nn.Module, loss_of: LossOf) -> LossOf:
        """Spread the module over the processes, in place; the loss to call instead of `loss_of`."""
        if not self.mode:
            return loss_of
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), 0)
        if self.mode == "after":
            return loss_of
        step = _Step(module, loss_of)
        if self.mode == "ddp":
            return nn.parallel.DistributedDataParallel(step, find_unused_parameters=True)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        device = next(module.parameters()).device.type
        step.spread()
        # Spread again after every forward pass, so that what is read between steps is what the optimiser writes.
        fully_shard(step, mesh=init_device_mesh(device, (self.size,)), reshard_after_forward=True)
        return cast(LossOf, step)

    def join(self, call: LossOf) -> None:
        """Give every process the whole module again, in place, where `share` spread it; all of them must ask for it."""
        if self.mode == "fsdp":
            cast(_Step, call).join()

    def part(self, rows: Int[np.ndarray, "b"]) -> Int[np.ndarray, "p"]:
        """The rows of this process; in the order of the processes they are the batch."""
        return np.array_split(rows, self.size)[self.rank] if self.mode else rows

    def mean(self, losses: Float[Tensor, "p"], count: int) -> Float[Tensor, ""]:
        """What to call `backward` on: averaged over the processes it is the mean loss of the `count` rows."""
        return losses.sum() * (self.size / count) if self.mode else losses.mean()

    def settle(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over the processes, where that has not happened in the backward pass."""
        if self.mode != "after":
            return
        free = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in free])
        dist.all_reduce(flat)
        for p, part in zip(free, (flat / self.size).split([p.numel() for p in free]), strict=True):
            p.grad = part.view_as(p)

    def gather(self, rows: Float[Tensor, "p d"]) -> tuple[Float[Tensor, "b d"], slice]:
        """The rows of all processes, with gradient, and which of them are this one's.

        A loss that compares the examples of a batch (a contrastive one) gathers its embeddings, computes the loss of
        every row, and returns that of its own. Alone, the rows come back as they are.

        Example:
            >>> ALONE.gather(torch.ones(2, 3))[1]
            slice(0, 2, None)
        """
        if not self.mode:
            return rows, slice(0, len(rows))
        mine = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.zeros_like(mine) for _ in range(self.size)]
        dist.all_gather(counts, mine)
        numbers = [int(n) for n in counts]
        start = sum(numbers[: self.rank])
        return cast(Tensor, _Gather.apply(rows, numbers)), slice(start, start + len(rows))

    def number(self, value: Float[Tensor, ""]) -> float:
        """The mean over the processes."""
        if self.mode:
            value = value.detach().clone()
            dist.all_reduce(value)
            value /= self.size
        return float(value.detach())

    def same(self, order: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The first process's order of the rows, for all."""
        if not self.mode:
            return order
        shared = torch.from_numpy(order.astype(np.int64))
        dist.broadcast(shared, 0)
        return shared.numpy()

    def agree(self, yes: bool) -> bool:
        """What the first process says."""
        if not self.mode:
            return yes
        answer = torch.tensor([int(yes)])
        dist.broadcast(answer, 0)
        return bool(answer.item())

    def word(self, text: str) -> str:
        """What the first process says, in words; also waits for it."""
        if not self.mode:
            return text
        told = [text]
        dist.broadcast_object_list(told, 0)
        return told[0]


ALONE = World()


class _Step(nn.Module):
    """The loss as a forward pass of a module, since that is where torch hooks in."""

    def __init__(self, module: nn.Module, loss_of: LossOf) -> None:
        super().__init__()
        self.module = module
        self.loss_of = loss_of
        self.scalars: list[tuple[nn.Module, str]] = []

    def forward(self, rows: np.ndarray, epoch: int) -> Tensor:
        # A view of what was gathered would lose its hooks.
        return self.loss_of(rows, epoch).clone()

    def spread(self) -> None:
        """Make scalars vectors of one number: only these can be spread."""
        self.scalars = [(part, name) for part, name, tensor in self._named() if not tensor.ndim]
        for part, name in self.scalars:
            scalar = part.get_parameter(name)
            part.register_parameter(name, nn.Parameter(scalar.detach().view(1), requires_grad=scalar.requires_grad))

    def join(self) -> None:
        """Every parameter in one piece and in its own shape."""
        known: dict[int, nn.Parameter] = {}  # one that two modules share stays one
        for part, name, tensor in self._named():
            if id(tensor) not in known:
                plain = whole(tensor.detach()).clone()
                shaped = plain.view(()) if (part, name) in self.scalars else plain
                known[id(tensor)] = nn.Parameter(shaped, requires_grad=tensor.requires_grad)
            part.register_parameter(name, known[id(tensor)])

    def _named(self) -> list[tuple[nn.Module, str, nn.Parameter]]:
        return [(part, *pair) for part in self.modules() for pair in part.named_parameters(recurse=False)]


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward, the gradients that all processes have for the rows of this one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.counts = counts
        # Every process sends equally many rows: gloo asks for it.
        sent = rows.new_zeros((max(counts), *rows.shape[1:]))
        sent[: len(rows)] = rows
        found = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(found, sent)
        return torch.cat([part[:n] for part, n in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        whole_gradient = gradient.contiguous().clone()
        dist.all_reduce(whole_gradient)
        start = sum(ctx.counts[: dist.get_rank()])
        return whole_gradient[start : start + ctx.counts[dist.get_rank()]], None


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is spread over the processes, in one piece; every process must ask for it."""
    if not dist.is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor  # 1 s to import, and only FSDP makes them

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensors: Mapping[str, Tensor], models: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Spread each tensor as the one of the same name in `models` is; others stay in one piece."""
    found = dict(tensors)
    if not dist.is_initialized():
        return found
    from torch.distributed.tensor import DTensor, distribute_tensor

    for name, model in models.items():
        if isinstance(model, DTensor) and name in found:
            # Each process has read the whole and keeps its part: nothing is sent.
            found[name] = distribute_tensor(found[name], model.device_mesh, model.placements, src_data_rank=None)
    return found
