"""What every image encoder promises, by existing."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from foreign import ENCODERS
from tapetum.core.registry import Family
from tapetum.nets import Encoder, build_encoder
from tapetum.nets.roles import blocks_of, linear_roles
from tapetum.nets.spec import RESAMPLINGS, state_digest

FAMILY = Family("tapetum.nets.encoders")
OPTIONS = {"efficientnet_lite": "(size=64)", "tiny": "(size=32, dim=8)"}


def _offline(*_: Any, **__: Any) -> None:
    raise AssertionError("an encoder opened a network connection")


@pytest.fixture(scope="module", params=FAMILY.names())
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A spec of each member; a random tiny model on disk for the one that reads a folder."""
    if request.param in ENCODERS:
        return ENCODERS[request.param](tmp_path_factory.mktemp(request.param))
    if request.param != "transformer":
        return request.param + OPTIONS.get(request.param, "")
    import transformers as hf

    folder = tmp_path_factory.mktemp("vit")
    hf.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = hf.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8
    )
    hf.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    preprocessing = {"size": 32, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return f"transformer(path={str(folder)!r})"


@pytest.fixture(scope="module")
def encoder(spec: str) -> Encoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", _offline)
        patch.setattr(socket.socket, "connect", _offline)
        return build_encoder(spec)


def _images(encoder: Encoder, count: int = 4) -> torch.Tensor:
    shape = (count, 3, encoder.spec.size, encoder.spec.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_member_has_a_summary_and_keyword_options(spec: str) -> None:
    name = spec.partition("(")[0]
    assert FAMILY.summary(name).endswith(".")
    assert "Source:" in (FAMILY.member(name).__doc__ or "")


def test_shapes_and_spec(encoder: Encoder) -> None:
    said = encoder.spec
    with torch.no_grad():
        features, tokens = encoder(_images(encoder)), encoder.tokens(_images(encoder))
    assert features.shape == (4, said.dim)
    assert tokens.shape == (4, said.grid[0] * said.grid[1], said.token_dim)
    assert features.dtype == tokens.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert len(said.mean) == len(said.std) == 3
    assert said.resample in RESAMPLINGS


def test_blocks_tile_the_columns(encoder: Encoder) -> None:
    ends = [0]
    for a, b in encoder.spec.blocks.values():
        assert a == ends[-1]
        assert b > a
        ends.append(b)
    assert ends[-1] == encoder.spec.dim


def test_token_block_is_the_mean_of_the_tokens(encoder: Encoder) -> None:
    a, b = encoder.spec.blocks[encoder.spec.token_block]
    with torch.no_grad():
        features, tokens = encoder(_images(encoder)), encoder.tokens(_images(encoder))
    torch.testing.assert_close(tokens.mean(1), features[:, a:b], atol=1e-5, rtol=1e-4)


def test_tuning_finds_blocks_and_layers(encoder: Encoder) -> None:
    """Roles and blocks are how tuners aim; an encoder that has none of them could not be tuned."""
    assert isinstance(encoder, torch.nn.Module)
    roles = linear_roles(encoder)
    blocks = blocks_of(encoder)
    assert list(roles.values()).count("patch") == 1
    assert set(roles.values()) & {"query", "qkv", "pointwise", "spatial"}
    assert len(blocks) >= 2
    assert len({name for name, _ in blocks}) == len(blocks)


def test_evaluation_is_deterministic_and_tells_images_apart(encoder: Encoder) -> None:
    assert isinstance(encoder, torch.nn.Module)
    assert not encoder.training
    x = _images(encoder)
    with torch.no_grad():
        first, second = encoder(x), encoder(x)
    assert torch.equal(first, second)
    assert (first.std(0) > 0).any()


def test_row_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    x = _images(encoder)
    with torch.no_grad():
        together = encoder(x)
        alone = torch.cat([encoder(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_loads_its_own_saved_state(encoder: Encoder, spec: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, tmp_path / "w.safetensors")
    other = build_encoder(spec)
    assert isinstance(other, torch.nn.Module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert state_digest(other) != encoder.spec.weights_digest
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert state_digest(other) == encoder.spec.weights_digest
    with torch.no_grad():
        assert torch.equal(other(_images(encoder)), encoder(_images(encoder)))


def test_equal_specs_are_equal(encoder: Encoder, spec: str) -> None:
    assert build_encoder(spec).spec == encoder.spec
