"""From the names in a published checkpoint to the names of the network that takes it, and what matched nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tapetum.core.errors import ArtefactError

# One new name, several for a fused tensor that is cut into equal parts along its first axis, or a function of the match
# where a name has to be computed.
Target = str | tuple[str, ...] | Callable[[re.Match[str]], str | tuple[str, ...]]
_SHOWN = 6
_COUNTERS = "num_batches_tracked"  # how many batches a norm has seen: old files lack it, and evaluation ignores it


@dataclass(frozen=True)
class Layout:
    r"""How the keys of one published layout become those of our network.

    Attributes:
        name: what the layout is called in messages.
        rules: (pattern of the whole key, target); the first that matches decides; targets may use `\1`.
        dropped: patterns of keys that are left out on purpose: heads, decoders, counters.
    """

    name: str
    rules: tuple[tuple[str, Target], ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Renamed:
    """A checkpoint under new names.

    Attributes:
        layout: whose rules were used. state: new name → tensor.
        dropped: keys left out on purpose. unmatched: keys that no rule knows.
    """

    layout: str
    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    unmatched: tuple[str, ...]


def rename(state: Mapping[str, Tensor], layout: Layout) -> Renamed:
    r"""Rename every key by the rules of a layout and cut fused tensors.

    Args:
        state: published key → tensor.
        layout: its rules.

    Returns:
        The new state, with what was left out and what matched nothing.

    Raises:
        ArtefactError: a fused tensor cannot be cut into equal parts.

    Example:
        >>> import torch
        >>> layout = Layout("fused", ((r"qkv\.(\w+)", (r"q.\1", r"k.\1", r"v.\1")),), (r"head\..*",))
        >>> got = rename({"qkv.bias": torch.arange(3.0), "head.bias": torch.zeros(1), "x": torch.zeros(1)}, layout)
        >>> [float(got.state[f"{part}.bias"]) for part in "qkv"], got.dropped, got.unmatched
        ([0.0, 1.0, 2.0], ('head.bias',), ('x',))
    """
    new: dict[str, Tensor] = {}
    dropped: list[str] = []
    unmatched: list[str] = []
    for key, tensor in state.items():
        if any(re.fullmatch(pattern, key) for pattern in layout.dropped):
            dropped.append(key)
            continue
        names = _names(key, layout)
        if not names:
            unmatched.append(key)
            continue
        if len(names) > 1 and (tensor.ndim == 0 or tensor.shape[0] % len(names)):
            raise ArtefactError(
                f"{key} of shape {tuple(tensor.shape)} cannot be cut into {len(names)} equal parts",
                f"a fused tensor of the layout {layout.name}",
            )
        parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
        new |= dict(zip(names, parts, strict=True))
    return Renamed(layout.name, new, tuple(sorted(dropped)), tuple(sorted(unmatched)))


def _names(key: str, layout: Layout) -> tuple[str, ...]:
    for pattern, target in layout.rules:
        match = re.fullmatch(pattern, key)
        if match:
            made = target(match) if callable(target) else target
            return tuple(match.expand(name) for name in ((made,) if isinstance(made, str) else made))
    return ()


def fill(network: nn.Module, renamed: Renamed, where: str, *, next_step: str = "") -> None:
    """Write a renamed checkpoint into a network, which must hold exactly these names and shapes.

    Shapes may differ by axes of length 1 (a 1 x 1 convolution for a linear layer); other types become float32.

    Args:
        network: takes the tensors.
        renamed: from `rename`.
        where: the file, for the message.
        next_step: what to do if it does not fit.

    Raises:
        ArtefactError: keys are left over on either side, or shapes differ; the message lists them.
    """
    wanted = network.state_dict()
    missing = sorted(k for k in set(wanted) - set(renamed.state) if not k.endswith(_COUNTERS))
    surplus = sorted([*renamed.unmatched, *(set(renamed.state) - set(wanted))])
    both = [k for k in renamed.state if k in wanted]
    wrong = [
        f"{k} {tuple(renamed.state[k].shape)} for {tuple(wanted[k].shape)}"
        for k in both
        if _squeezed(renamed.state[k]) != _squeezed(wanted[k])
    ]
    if missing or surplus or wrong:
        parts = (("keys of the file that match nothing", surplus), ("weights that the file lacks", missing))
        told = [f"{len(keys)} {what}: {shortened(keys)}" for what, keys in (*parts, ("other shapes", wrong)) if keys]
        raise ArtefactError(
            f"{where} does not fit the layout {renamed.layout}: " + "; ".join(told),
            f"a checkpoint of that architecture, {len(wanted)} tensors",
            next_step,
        )
    ready = {k: renamed.state[k].reshape(wanted[k].shape).to(wanted[k].dtype) for k in both}
    network.load_state_dict(ready, strict=False)


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(n for n in tensor.shape if n != 1)


def shortened(keys: Sequence[str]) -> str:
    """The first few of a list of keys and how many more there are."""
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a checkpoint under a prefix, without it.

    Example:
        >>> import torch
        >>> list(without_prefix({"visual.conv1": torch.zeros(1), "logit_scale": torch.zeros(1)}, "visual."))
        ['conv1']
    """
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def count(state: Mapping[str, object], pattern: str) -> int:
    r"""How many repeated blocks there are: one more than the highest number in the group of `pattern`; 0 for none.

    Example:
        >>> count({"blocks.0.w": 0, "blocks.11.w": 0}, r"blocks\.(\d+)\..*")
        12
    """
    found = [int(m.group(1)) for key in state if (m := re.fullmatch(pattern, key))]
    return max(found) + 1 if found else 0


def tensor_of(state: Mapping[str, Tensor], key: str, where: str, layout: str) -> Tensor:
    """A tensor that a layout cannot do without, from which a size is read.

    Raises:
        ArtefactError: the key is not there; the message lists what is.
    """
    if key not in state:
        raise ArtefactError(
            f"{where} has no {key}; its {len(state)} keys: {shortened(sorted(state))}", f"the layout {layout}"
        )
    return state[key]
