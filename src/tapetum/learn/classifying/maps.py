"""The first feature maps of a tower: where they leave a block, how their channels lie, a change in training.

Mean and spread of a channel over the places of an image say much of lamp, colour and sharpness and little of what lies
where: methods that call these the style of an image exchange them between images.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError

SMALL = 1e-6  # added to variances
Change = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c h w"]]


def channel_statistics(
    maps: Float[Tensor, "b c h w"],
) -> tuple[Float[Tensor, "b c 1 1"], Float[Tensor, "b c 1 1"]]:
    """Mean and standard deviation of every channel of every image, over its places.

    Example:
        >>> mean, deviation = channel_statistics(torch.tensor([[[[1.0, 3.0]]]]))
        >>> mean.item(), round(deviation.item(), 3)
        (2.0, 1.0)
    """
    mean = maps.mean(dim=(2, 3), keepdim=True)
    variance = (maps - mean).square().mean(dim=(2, 3), keepdim=True)
    return mean, torch.sqrt(variance + SMALL)


def with_mixed_style(
    maps: Float[Tensor, "b c h w"], partner: Int[Tensor, "b"], share: Float[Tensor, "b"], *, fixed: bool
) -> Float[Tensor, "b c h w"]:
    """Maps whose mean and deviation are `share` of their own and the rest of their partner's; what lies where stays.

    Args:
        maps: of a batch.
        partner: row whose style is mixed in.
        share: of the own style, 0..1; 1 leaves a row as it is.
        fixed: statistics carry no gradient.
    """
    mean, deviation = channel_statistics(maps.detach() if fixed else maps)
    part = share[:, None, None, None]
    # written so that a share of 1 leaves the maps as they are to the last bit
    scale = 1 + (1 - part) * (deviation[partner] / deviation - 1)
    return maps * scale + ((1 - part) * mean[partner] + part * mean - mean * scale)


def with_other_content(maps: Float[Tensor, "b c h w"], partner: Int[Tensor, "b"]) -> Float[Tensor, "b c h w"]:
    """The partner's map with the own mean and deviation: a gradient reaches a row through its style alone.

    Args:
        maps: of a batch.
        partner: row whose content is taken.
    """
    mean, deviation = channel_statistics(maps)
    content = maps[partner].detach()
    there, spread = channel_statistics(content)
    return (content - there) / spread * deviation + mean


def first_blocks(tower: nn.Module, given: Float[Tensor, "b 3 s s"], levels: int) -> list[tuple[nn.Module, int]]:
    """The last block at each of the first sizes of map, with its channels, from the largest map on.

    A block is an entry of a list or sequence of layers that is called once and gives maps `[b c h w]`.

    Args:
        tower: from images to features.
        given: one image or more, to see what each block makes of them.
        levels: how many sizes of map; the smallest one, which is pooled, is never among them.

    Raises:
        UsageError: the tower has fewer sizes of map, as a transformer has.
    """
    if levels < 1:
        raise UsageError(f"levels={levels}", "1 or more")
    asked = {c for m in tower.modules() if isinstance(m, nn.ModuleList | nn.Sequential) for c in m.children()}
    seen: list[tuple[nn.Module, int, int]] = []

    def look(module: nn.Module, _: object, out: object) -> None:
        seen.append(
            (module, out.shape[2], out.shape[1]) if isinstance(out, Tensor) and out.ndim == 4 else (module, 0, 0)
        )

    handles = [module.register_forward_hook(look) for module in asked]
    mode = tower.training
    tower.eval()
    with torch.no_grad():
        tower(given)
    tower.train(mode)
    for handle in handles:
        handle.remove()
    order = [m for m, _, _ in seen]
    last = {side: (m, channels) for m, side, channels in seen if side and order.count(m) == 1}
    sizes = sorted(last, reverse=True)
    if len(sizes) <= levels:
        raise UsageError(
            f"levels={levels} of a tower with {len(sizes)} sizes of feature map", f"{levels + 1} or more",
            'a convolutional tower, such as encoders="efficientnet_lite(size=96)"',
        )  # fmt: skip
    return [last[side] for side in sizes[:levels]]


@contextmanager
def changing(tower: nn.Module, blocks: Sequence[nn.Module], change: Change) -> Generator[None]:
    """What these blocks give is changed while the tower is in training mode, and never otherwise.

    Args:
        tower: whose mode counts.
        blocks: of it.
        change: of the maps of a batch.
    """

    def altered(module: nn.Module, inputs: object, out: Tensor) -> Tensor | None:
        del module, inputs
        return change(out) if tower.training else None

    handles = [block.register_forward_hook(altered) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
