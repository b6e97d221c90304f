"""Renaming of published keys, what matched nothing, and positions of another grid: computed by hand."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from tapetum.core.errors import ArtefactError
from tapetum.nets.published import layouts
from tapetum.nets.published.keys import Layout, count, fill, rename, shortened, without_prefix
from tapetum.nets.published.positions import resized_positions

PAIR = Layout("pair", ((r"fc\.(weight|bias)", r"0.\1"), (r"kv\.(\w+)", (r"1.\1", r"2.\1"))), (r"head\..*",))


def test_first_matching_rule_decides_and_parts_keep_their_order() -> None:
    layout = Layout("two", ((r"a\.x", "first"), (r"a\.(\w)", r"later.\1"), (r"kv", ("k", "v"))))
    state = {"a.x": torch.tensor([1.0]), "a.y": torch.tensor([2.0]), "kv": torch.tensor([3.0, 4.0])}
    got = rename(state, layout)
    assert {k: v.tolist() for k, v in got.state.items()} == {"first": [1.0], "later.y": [2.0], "k": [3.0], "v": [4.0]}
    assert got.dropped == got.unmatched == ()


def test_patterns_match_whole_keys_only() -> None:
    got = rename({"head": torch.zeros(1), "head.bias": torch.zeros(1), "xfc.bias": torch.zeros(1)}, PAIR)
    assert got.dropped == ("head.bias",)
    assert got.unmatched == ("head", "xfc.bias")
    assert not got.state


@pytest.mark.parametrize("tensor", [torch.zeros(3), torch.tensor(1.0)])
def test_a_fused_tensor_that_cannot_be_halved_is_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(ArtefactError, match="cannot be cut into 2 equal parts"):
        rename({"kv.weight": tensor}, PAIR)


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False))


def test_fill_writes_values_shapes_with_ones_and_half_floats() -> None:
    net = _net()
    state = {
        "fc.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).half().reshape(2, 2, 1, 1),
        "fc.bias": torch.tensor([5.0, 6.0]), "kv.weight": torch.tensor([[7.0, 8.0], [9.0, 10.0]]),
    }  # fmt: skip
    fill(net, rename(state, PAIR), "x.pth")
    got = {k: v.tolist() for k, v in net.state_dict().items()}
    assert got == {"0.weight": [[1, 2], [3, 4]], "0.bias": [5, 6], "1.weight": [[7, 8]], "2.weight": [[9, 10]]}
    assert all(v.dtype == torch.float32 for v in net.state_dict().values())


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    state = {
        "fc.weight": torch.zeros(2, 3),
        "odd": torch.zeros(1),
        "kv.weight": torch.zeros(2, 2),
        "head.x": torch.zeros(1),
    }
    with pytest.raises(ArtefactError) as refused:
        fill(_net(), rename(state, PAIR), "x.pth", next_step="say so")
    assert refused.value.found == (
        "x.pth does not fit the layout pair: 1 keys of the file that match nothing: odd; "
        "1 weights that the file lacks: 0.bias; 1 other shapes: 0.weight (2, 3) for (2, 2)"
    )
    assert refused.value.expected.endswith("4 tensors")
    assert refused.value.next_step == "say so"


def test_counters_of_batch_norm_may_be_absent() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2))
    layout = Layout("norm", ((r"(.*)", r"0.\1"),))
    state = {k: torch.full((2,), 3.0) for k in ("weight", "bias", "running_mean", "running_var")}
    fill(net, rename(state, layout), "x.pth")
    assert net.state_dict()["0.running_var"].tolist() == [3, 3]


def test_counts_prefixes_and_short_lists() -> None:
    assert count({"b.2.x": 0, "b.0.x": 0, "c.9.x": 0}, r"b\.(\d+)\..*") == 3
    assert count({}, r"b\.(\d+)\..*") == 0
    assert list(without_prefix({"a.b": torch.zeros(1), "b.a.": torch.zeros(1)}, "a.")) == ["b"]
    assert shortened([str(i) for i in range(8)]) == "0, 1, 2, 3, 4, 5 and 2 more"
    assert shortened(["a"]) == "a"


@pytest.mark.parametrize(
    ("layout", "key", "names"),
    [
        (layouts.VIT, "blocks.11.attn.qkv.bias", [f"net.layers.11.attention.{p}_proj.bias" for p in "qkv"]),
        (layouts.VIT, "blocks.1.3.norm1.bias", ["net.layers.3.layernorm_before.bias"]),
        (layouts.RESNET, "layer4.2.bn3.bias", ["net.encoder.stages.3.layers.2.layer.2.normalization.bias"]),
        (layouts.RESNET, "layer2.0.downsample.0.weight", ["net.encoder.stages.1.layers.0.shortcut.convolution.weight"]),
        (layouts.SWINV2, "layers.2.downsample.norm.bias", ["net.encoder.layers.1.downsample.norm.bias"]),
        (layouts.CLIP_TEXT, "ln_final.bias", ["net.final_layer_norm.bias"]),
    ],
)  # fmt: skip
def test_names_of_the_layouts(layout: Layout, key: str, names: list[str]) -> None:
    assert list(rename({key: torch.zeros(6)}, layout).state) == names


@pytest.mark.parametrize("layout", [layouts.VIT, layouts.RESNET, layouts.CONVNEXT, layouts.SWINV2, layouts.BERT])
def test_every_pattern_compiles_and_no_head_is_kept(layout: Layout) -> None:
    assert all(re.compile(pattern) for pattern, _ in layout.rules)
    head = {layouts.BERT: "pooler.dense.bias", layouts.CONVNEXT: "head.fc.bias"}.get(layout, "head.bias")
    assert rename({head: torch.zeros(1)}, layout).dropped == (head,)


# --- positions ------------------------------------------------------------------------------------------------------


def test_positions_keep_the_first_rows_and_a_constant_stays_constant() -> None:
    learnt = torch.cat([torch.tensor([[[9.0]]]), torch.full((1, 4, 1), 2.0)], 1)
    got = resized_positions(learnt, 3)
    assert got.shape == (1, 10, 1)
    assert float(got[0, 0, 0]) == 9.0
    torch.testing.assert_close(got[:, 1:], torch.full((1, 9, 1), 2.0))


def test_positions_of_a_ramp_stay_rising_along_the_same_axis() -> None:
    ramp = torch.arange(4.0).repeat(4, 1).reshape(1, 16, 1)  # columns 0..3 in every row
    grid = resized_positions(ramp, 8, prefix=0).reshape(8, 8)
    torch.testing.assert_close(grid, grid[:1].expand(8, 8))
    assert (grid[0].diff() > 0).all()


def test_the_same_grid_is_left_alone_and_other_shapes_are_refused() -> None:
    learnt = torch.randn(1, 17, 2, generator=torch.Generator().manual_seed(0))
    assert resized_positions(learnt, 4) is learnt
    with pytest.raises(ArtefactError, match="15 patches after 2 other tokens"):
        resized_positions(learnt, 4, prefix=2)
    with pytest.raises(ArtefactError):
        resized_positions(learnt[:, :1], 4)
