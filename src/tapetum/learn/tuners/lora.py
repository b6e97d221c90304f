"""Low-rank updates of chosen layers, through `peft`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn

from tapetum.core.errors import UsageError
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuning.attach import CEILING, freeze, module_of, refuse_above_ceiling, trainable
from tapetum.nets import Encoder
from tapetum.nets.roles import ROLES, linear_roles

__all__ = ["LoRA"]

_RANKS = (8, 4, 2, 1)
_DEFAULTS = (("query", "value"), ("qkv",), ("pointwise",))
_NAME = "default"


@dataclass(frozen=True)
class LoRA:
    """W + (alpha / rank)·B·A in chosen layers: B starts at 0, so that the network starts as it was.

    Args:
        rank: columns of B; 0 = the largest of 8, 4, 2, 1 that stays below 1 % of the network's parameters.
        alpha: of the scale alpha / rank; 0 = twice the rank.
        roles: which layers (`nets/roles.py`); empty = query and value of attentions, else their fused `qkv`, else the
            pointwise convolutions.
        seed: of A.

    Returns:
        Attached: one group of parameters. Folded: the plain network with updated weights, as fast as before.

    Raises:
        UsageError: on attaching, rank or alpha below 0, a network without such layers, or more than 1 % of its
            parameters.

    Source: Hu et al., ICLR 2022, arXiv 2106.09685. Differs: layers are found by role, also 1×1 convolutions; A is drawn
    from a generator of its own; no dropout, since networks stay in evaluation mode.
    """

    PEFT: ClassVar[bool] = True
    RATE: ClassVar[float] = 1e-3
    FRESH: ClassVar[bool] = False

    rank: int = 0
    alpha: float = 0.0
    roles: tuple[str, ...] = ()
    seed: int = 0

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Put A and B beside the chosen layers; only they require a gradient."""
        if self.rank < 0 or self.alpha < 0:
            raise UsageError(f"rank={self.rank}, alpha={self.alpha}", "0 or more", "lora(rank=8, alpha=16)")
        layers = self._layers(encoder)
        frozen = freeze(encoder)
        costs = sum(_cost(layer) for layer in layers.values())
        rank = self.rank or next((r for r in _RANKS if r * costs <= CEILING * frozen), 1)
        fitting = int(CEILING * frozen / costs)
        smaller = f"lora(rank={fitting})" if fitting else "fewer roles, or another tuner: last()"
        refuse_above_ceiling(rank * costs, frozen, f"lora(rank={rank}) on {len(layers)} layers", smaller)
        for name, layer in layers.items():
            if type(layer) not in (nn.Linear, nn.Conv2d):
                module_of(encoder).set_submodule(name, _plain(layer, name))
        self._inject(module_of(encoder), list(layers), rank)
        return [ParameterGroup(list(trainable(encoder).values()))]

    def fold(self, encoder: Encoder) -> None:
        """Add the updates to the weights and take A and B away."""
        from peft.tuners.lora import LoraLayer

        module = module_of(encoder)
        for name, layer in list(module.named_modules()):
            if isinstance(layer, LoraLayer):
                cast(nn.Linear, layer).merge()  # pyright: ignore[reportCallIssue]
                module.set_submodule(name, layer.get_base_layer())

    def _layers(self, encoder: Encoder) -> dict[str, nn.Linear | nn.Conv2d]:
        roles = linear_roles(module_of(encoder))
        present = set(roles.values())
        unknown = [role for role in self.roles if role not in ROLES]
        if unknown:
            raise UsageError(f"unknown role {unknown[0]!r}", " | ".join(ROLES), "lora(roles=('query', 'value'))")
        wanted = self.roles or next((d for d in _DEFAULTS if set(d) <= present), ())
        chosen = [name for name, role in roles.items() if role in wanted]
        if not chosen:
            asked = self.roles or "query and value, qkv or pointwise"
            raise UsageError(
                f"{encoder.spec.name} has no layer of the roles {asked}; it has {sorted(present)}",
                "roles that it has", "lora(roles=…), or another tuner: last()",
            )  # fmt: skip
        return {name: cast(nn.Linear | nn.Conv2d, module_of(encoder).get_submodule(name)) for name in chosen}

    def _inject(self, module: nn.Module, names: list[str], rank: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        # peft takes whole numbers; halves of a rank would be lost in silence
        alpha = cast(int, self.alpha or 2.0 * rank)
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), module, _NAME)
        generator = torch.Generator().manual_seed(self.seed)
        for layer in module.modules():
            if isinstance(layer, LoraLayer):
                weight = cast(nn.Linear, layer.lora_A[_NAME]).weight
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(".lora_A." in name or ".lora_B." in name)
        module.eval()


def _plain(layer: nn.Linear | nn.Conv2d, name: str) -> nn.Module:
    """The same weights as a plain layer: peft makes A and B of the layer's own class, which may want more to be built.

    Raises:
        UsageError: the layer does more than its weights say.
    """
    generator = torch.Generator().manual_seed(0)
    biased = any(key == "bias" for key, _ in layer.named_parameters(recurse=False))
    if isinstance(layer, nn.Linear):
        plain: nn.Linear | nn.Conv2d = nn.Linear(layer.in_features, layer.out_features, bias=biased)
        example = torch.randn(2, layer.in_features, generator=generator)
    else:
        side = cast(tuple[int, int], layer.kernel_size)
        plain = nn.Conv2d(
            layer.in_channels, layer.out_channels, side, cast(tuple[int, int], layer.stride),
            cast(tuple[int, int], layer.padding), cast(tuple[int, int], layer.dilation), layer.groups, bias=biased,
        )  # fmt: skip
        example = torch.randn(1, layer.in_channels, 9, 9, generator=generator)
    plain.load_state_dict({key: value.detach() for key, value in layer.named_parameters(recurse=False)})
    with torch.no_grad():
        same = torch.equal(plain(example), layer(example))
    if not same:
        raise UsageError(f"{name} is a {type(layer).__name__}, no plain layer", "plain layers", "other roles")
    return plain


def _cost(layer: nn.Linear | nn.Conv2d) -> int:
    """Numbers of A and B per rank."""
    if isinstance(layer, nn.Linear):
        return layer.in_features + layer.out_features
    return layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] + layer.out_channels // layer.groups
