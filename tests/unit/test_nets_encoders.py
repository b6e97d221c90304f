"""Image towers: the packaged weights, options, invalid use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError
from tapetum.nets import build_encoder
from tapetum.nets.encoders import efficientnet_lite as module
from tapetum.nets.spec import read_state, state_digest


def test_default_blocks() -> None:
    spec = build_encoder("efficientnet_lite(stages='middle')").spec
    assert dict(spec.blocks) == {
        "avg": (0, 1280), "max": (1280, 2560), "stage10_avg": (2560, 2672), "stage10_max": (2672, 2784),
    }  # fmt: skip
    assert build_encoder("efficientnet_lite").spec.dim == 2 * (1280 + 24 + 40 + 80 + 112 + 192 + 320)
    assert (spec.size, spec.grid, spec.token_dim, spec.name) == (224, (7, 7), 1280, "efficientnet_lite-224")
    # (x - 127) / 128 on 8-bit pixels
    assert [(p / 255 - m) / s for p, m, s in zip((0, 127, 255), spec.mean, spec.std, strict=True)] == pytest.approx(
        [-127 / 128, 0, 1]
    )


def test_fewer_blocks_are_the_same_columns() -> None:
    x = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    whole, bare = (
        build_encoder("efficientnet_lite(size=64)"),
        build_encoder("efficientnet_lite(size=64, pools=('avg',), stages='final')"),
    )
    with torch.no_grad():
        torch.testing.assert_close(bare(x), whole(x)[:, :1280])
        assert whole(x)[:, 1280:2560].ge(whole(x)[:, :1280]).all()  # a maximum is no less than a mean
    assert bare.spec.weights_digest == whole.spec.weights_digest


def test_stages_are_the_ends_of_the_resolutions() -> None:
    encoder = build_encoder("efficientnet_lite(size=64)")
    widths = [encoder.net._blocks[depth]._project_conv.out_channels for depth in module._STAGES]
    assert widths == list(module._STAGES.values())
    # the block after a stage's end has other channels: a stage is never cut in two
    following = [encoder.net._blocks[d + 1]._project_conv.out_channels for d in module._STAGES if d < 15]
    assert all(a != b for a, b in zip(widths, following, strict=False))


@pytest.mark.parametrize("option", ["stages='half'", "view='sepia'"])
def test_unknown_stages_and_views_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match="for efficientnet_lite"):
        build_encoder(f"efficientnet_lite({option})")


def test_pooled_average_equals_the_packages_own_classifier_input() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0", image_size=96)
    net.load_state_dict(read_state(module._packaged_weights()))
    net.eval()
    x = torch.randn((2, 3, 96, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = build_encoder("efficientnet_lite(size=96)")(x)[:, :1280]
        torch.testing.assert_close(net._fc(ours), net(x), atol=1e-4, rtol=1e-4)


def test_weights_from_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    encoder = build_encoder("efficientnet_lite(size=64, stages='final')")
    state = {k.removeprefix("net."): v * 1 for k, v in encoder.state_dict().items()}
    state["_conv_stem.weight"] = state["_conv_stem.weight"] * 2
    save_file(state, tmp_path / "w.safetensors")
    other = build_encoder(f"efficientnet_lite(size=64, weights={str(tmp_path / 'w.safetensors')!r})")
    assert other.spec.weights_digest != encoder.spec.weights_digest
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ArtefactError, match="does not fit"):
        build_encoder(f"efficientnet_lite(size=64, weights={str(tmp_path / 'w.safetensors')!r})")


def test_pickles_that_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("/")}, tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match="cannot be read as tensors"):
        read_state(tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match="no weights at"):
        read_state(tmp_path / "none.pth")


def test_missing_package_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install -c constraints"):
        build_encoder("efficientnet_lite")


@pytest.mark.parametrize(
    "spec",
    [
        "efficientnet_lite(size=100)", "efficientnet_lite(size=32)", "efficientnet_lite(pools=('max',))",
        "efficientnet_lite(pools=('avg', 'min'))", "tiny(size=10)", "tiny(dim=7)", "tiny(depth=3)", "efficientnet",
    ],
)  # fmt: skip
def test_wrong_options(spec: str) -> None:
    with pytest.raises(UsageError):
        build_encoder(spec)


def test_tiny_is_seeded() -> None:
    a, b, c = (build_encoder(f"tiny(seed={s})").spec.weights_digest for s in (1, 1, 2))
    assert a == b != c


def test_digest_sees_names_values_and_types() -> None:
    def digest(name: str, value: torch.Tensor) -> str:
        module = torch.nn.Module()
        module.register_buffer(name, value)
        return state_digest(module)

    values = [torch.zeros(2), torch.ones(2), torch.zeros(1, 2), torch.zeros(2, dtype=torch.float64)]
    assert len({digest("a", v) for v in values} | {digest("b", values[0])}) == 5
    assert digest("a", torch.zeros(2)) == digest("a", torch.zeros(2))
