"""One stage of training: a plan, put into the one loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.learn.classifying.activation import maps_of
from tapetum.learn.classifying.domain_weights import refuse_one_domain
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Inputs, Taught
from tapetum.learn.classifying.trained import Network
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.loop import Order, run_loop
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.training.parallel import LossOf
from tapetum.nets.heads import ClassHead

Reweigh = Callable[[Float[Tensor, "b"], Int[np.ndarray, "b"]], Float[Tensor, "b"]]
TOWER_PACE = 0.1  # of the head's learning rate


class _Whole(nn.Module):
    """Tower and head as one module, so that sharpness can be measured around all of it."""

    def __init__(self, tower: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, inputs: Tensor) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b k"]]:
        head = cast(ClassHead, self.head)
        embedded = head.embed(self.tower(inputs) if self.tower is not None else inputs)
        return embedded, head.classify(embedded)


def new_network(taught: Taught, head: str, rng: np.random.Generator) -> Network:
    """An untrained network for these rows.

    Args:
        taught: how wide its features are, how many classes there are, and the tower to copy.
        head: spec of a member of `nets/heads`.
        rng: of the first weights.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    built = Family("tapetum.nets.heads").build(head)(taught.features.shape[1], taught.classes, generator)
    return Network(built, copy.deepcopy(taught.tower))


def train(
    taught: Taught,
    plan: Plan,
    pace: Pace,
    rng: np.random.Generator,
    *,
    start: Network | None = None,
    learns: Callable[[Network], list[nn.Parameter]] | None = None,
    weights: Float[np.ndarray, "n"] | None = None,
    reweigh: Reweigh | None = None,
) -> Network:
    """Train a network on all rows; nothing is chosen, the last epoch stays.

    Args:
        taught: the rows.
        plan: what the method is made of.
        pace: how long and how fast.
        rng: first weights, order, blending.
        start: a network to go on with (it is changed); None = a new one with the head of the plan.
        learns: which parameters of it learn; None = all. The others stay as they are.
        weights: of every row, for example how far its label is trusted; None = 1.
        reweigh: losses of a batch and their row numbers → losses, for weights that change while training.

    Raises:
        UsageError: an unknown name, a loss for the other kind of labels, or a penalty on what cannot be moved.
        DataError: the loss became not finite.
    """
    plan.refuse_labels(taught.exclusive)
    if asks_domains(plan.mixing):
        refuse_one_domain(taught, f"mixing={plan.mixing!r}")
    network = start or new_network(taught, plan.head, rng)
    _refuse_fixed(plan, network)
    whole = _Whole(network.tower, network.head)
    free = list(whole.parameters()) if learns is None else learns(network)
    for parameter in whole.parameters():
        parameter.requires_grad_(any(parameter is p for p in free))
    stage = _Stage(taught, plan, pace, whole, np.random.default_rng(int(rng.integers(2**62))), weights, reweigh)
    run_stage(
        whole,
        stage.losses,
        taught,
        pace.settings(plan.ema),
        rng,
        paces(network, free, pace.offset_rate),
        stage.order,
        plan.loss,
    )
    return network


def asks_domains(mixing: str) -> bool:
    """Whether a way of blending has to know the domains."""
    return bool(mixing) and "domains" in Family("tapetum.learn.mixing").options(Spec.parse(mixing).name)


def _inputs(taught: Taught, augment: str) -> Inputs:
    """What the network is given, changed further where that is asked for."""
    if not augment:
        return taught.given
    if taught.changed is None:
        raise UsageError(
            f"augment={augment!r} on features", "pictures, which a tower that learns is given", "mode=finetune"
        )
    return taught.changed(augment)


def _refuse_fixed(plan: Plan, network: Network) -> None:
    """Penalties on what the last layer reads do nothing where that is fixed."""
    if network.tower is not None or cast(ClassHead, network.head).BENDS:
        return
    asked = {"compactness": plan.compactness}
    if plan.invariance:
        spec = Spec.parse(plan.invariance)
        of = Family("tapetum.learn.invariance").options(spec.name).get("of")
        if of is not None and spec.options.get("of", of.default) == "embedded":
            asked["invariance"] = plan.invariance
    for name, value in asked.items():
        if value:
            raise UsageError(
                f"{name}={value!r} with head={plan.head!r}: frozen features cannot be moved together",
                "a head with a hidden layer, or a tower that learns",
                "head='hidden'",
            )


def run_stage(
    whole: nn.Module,
    losses: LossOf,
    taught: Taught,
    settings: LoopSettings,
    rng: np.random.Generator,
    groups: list[ParameterGroup],
    order: Order | None,
    name: str,
) -> None:
    """Train a module on all rows; nothing is held out.

    Args:
        whole: what is trained.
        losses: see `run_loop`.
        taught: how many rows there are.
        settings: how long and how fast.
        rng: of the order.
        groups: all parameters that learn.
        order: see `run_loop`.
        name: of the loss, for whoever reads the error.

    Raises:
        DataError: the loss became not finite.
    """
    whole.train()
    nobody = np.empty(0, dtype=np.int64)
    rows = np.arange(len(taught.labels))
    history = run_loop(whole, losses, rows, nobody, settings, rng, groups=groups, order=order)
    if history.bad_step >= 0:
        raise DataError(f"the loss of {name} is not finite: {history.alarms()[0]}", "a finite loss")
    whole.eval()


def paces(network: Network, free: list[nn.Parameter], offset_rate: float = 1.0) -> list[ParameterGroup]:
    """Those parameters of a network that learn; of a tower at a tenth of the pace, offsets at one of their own."""
    tower = {id(p) for p in network.tower.parameters()} if network.tower else set[int]()
    own = [p for p in free if id(p) not in tower]
    parts = (
        ([p for p in own if p.ndim > 1], 1.0),
        ([p for p in own if p.ndim <= 1], offset_rate),
        ([p for p in free if id(p) in tower], TOWER_PACE),
    )
    return [ParameterGroup(part, rate) for part, rate in parts if part]


class _Stage:
    """The loss per row and the order of rows that a plan asks for."""

    def __init__(
        self,
        taught: Taught,
        plan: Plan,
        pace: Pace,
        whole: _Whole,
        rng: np.random.Generator,
        weights: Float[np.ndarray, "n"] | None,
        reweigh: Reweigh | None,
    ) -> None:
        self.taught, self.plan, self.whole, self.rng, self.reweigh = taught, plan, whole, rng, reweigh
        self.epochs, self.epoch = pace.epochs, 0
        self.counts = torch.from_numpy(taught.counts).float()
        self.weights = None if weights is None else torch.from_numpy(np.asarray(weights, dtype=np.float32))
        self.given, self.across = _inputs(taught, plan.augment), asks_domains(plan.mixing)
        self.built: dict[tuple[str, str], Callable[..., Any]] = {}

    def member(self, family: str, spec: str) -> Callable[..., Any]:
        """A member, built once, with what it asks for: the generator, the number of rows, maps of where it looks."""
        key = (family, spec)
        if key not in self.built:
            of = Family(f"tapetum.learn.{family}")
            asked = of.options(Spec.parse(spec).name)
            maps = maps_of(self.whole.tower, self.whole.head)
            offered = {"rng": self.rng, "rows": len(self.taught.labels), "maps": maps}
            self.built[key] = of.build(spec, **{name: x for name, x in offered.items() if name in asked})
        return self.built[key]

    def order(self, rows: Int[np.ndarray, "n"], rng: np.random.Generator) -> Int[np.ndarray, "m"]:
        """Rows of the next epoch."""
        done = self.epoch / self.epochs
        spec = self.plan.sampler_at(done)
        self.epoch += 1
        if not spec:
            return rng.permutation(rows)
        member = self.member("rebalancing", spec)
        share = {"share": done} if "share" in Family("tapetum.learn.rebalancing").options(Spec.parse(spec).name) else {}
        return rows[member(self.taught.labels[rows], rng=rng, **share)]

    def losses(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        """Loss per row, penalties included."""
        given, told = self.given(rows, epoch), self.taught.told(rows)
        partner, share = np.arange(len(rows)), torch.ones(len(rows))
        if self.plan.mixing:
            where = {"domains": torch.from_numpy(self.taught.domains[rows])} if self.across else {}
            given, partner, share = self.member("mixing", self.plan.mixing)(given, told, self.counts, **where)

        def at(parameters: Mapping[str, Tensor] | None) -> Float[Tensor, "b"]:
            call = (given,)
            found = self.whole(*call) if parameters is None else functional_call(self.whole, dict(parameters), call)
            embedded, logits = cast(tuple[Tensor, Tensor], found)
            return self._of(embedded, logits, told, partner, share, rows, epoch / self.epochs)

        return at(self._uphill(at) if self.plan.sharpness else None)

    def _of(
        self,
        embedded: Float[Tensor, "b e"],
        logits: Float[Tensor, "b k"],
        told: Tensor,
        partner: np.ndarray,
        share: Float[Tensor, "b *two"],
        rows: Int[np.ndarray, "b"],
        done: float,
    ) -> Float[Tensor, "b"]:
        loss = self.member("losses", self.plan.loss_at(done))
        found: Tensor = loss(logits, told, self.counts)
        if self.plan.mixing:
            own, other = share.T if share.ndim == 2 else (share, 1 - share)
            found = own * found + other * loss(logits, told[partner], self.counts)
        if self.weights is not None:
            found = found * self.weights[rows]
        if self.reweigh:
            found = self.reweigh(found, rows)
        if self.plan.compactness:
            found = found + self.member("compactness", self.plan.compactness)(embedded, told, self.counts)
        if self.plan.invariance and done >= self.plan.penalty_from:
            domains = torch.from_numpy(self.taught.domains[rows])
            found = found + self.member("invariance", self.plan.invariance)(embedded, logits, told, domains)
        return found

    def _uphill(self, at: Callable[[None], Float[Tensor, "b"]]) -> Mapping[str, Tensor]:
        """The weights a radius away, where the loss is largest; their gradient is that of the weights themselves."""
        named = {name: p for name, p in self.whole.named_parameters() if p.requires_grad}
        slopes = torch.autograd.grad(at(None).mean(), list(named.values()))
        length = torch.sqrt(sum((s.square().sum() for s in slopes), torch.zeros(()))).clamp_min(1e-12)
        return {
            name: p + (self.plan.sharpness / length * s).detach()
            for (name, p), s in zip(named.items(), slopes, strict=True)
        }
