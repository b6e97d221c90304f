"""Models of `transformers` read from a folder give what `transformers` itself gives."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from small_models import MODELS, PREPROCESSING, SKIPPED, images, saved
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.learn.features.runtime import Runner
from tapetum.nets import build_encoder
from tapetum.nets.encoders.transformer import transformer


@pytest.fixture(autouse=True)
def _silent() -> None:
    hf.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"vit_mae"}))
def test_blocks_and_tokens_equal_the_model(tmp_path: Path, name: str) -> None:
    net = saved(tmp_path, name)
    encoder = build_encoder(f"transformer(path={str(tmp_path)!r})")
    x = images()
    with torch.no_grad():
        out, features, tokens = net(pixel_values=x), encoder(x), encoder.tokens(x)
    hidden = out.last_hidden_state
    if hidden.ndim == 4:
        expected_tokens = torch.stack(
            [hidden[:, :, i, j] for i in range(hidden.shape[2]) for j in range(hidden.shape[3])], 1
        )
    else:
        expected_tokens = hidden[:, SKIPPED.get(name, 0) :]
    expected = {"patch": expected_tokens.mean(1), "avg": expected_tokens.mean(1), "pool": out.pooler_output}
    expected["cls"] = out.pooler_output if name == "clip_vision_model" else hidden[:, 0]
    if name == "dinov3_convnext":
        expected["pool"] = hidden[:, 0]
    torch.testing.assert_close(tokens, expected_tokens, atol=1e-5, rtol=1e-5)
    for block, (a, b) in encoder.spec.blocks.items():
        torch.testing.assert_close(features[:, a:b], expected[block], atol=1e-5, rtol=1e-5)
    assert encoder.spec.mean == (0.4, 0.5, 0.6)
    assert encoder.spec.std == (0.2, 0.25, 0.3)
    assert encoder.spec.grid[0] * encoder.spec.grid[1] == tokens.shape[1]
    assert encoder.spec.size == 32


def test_masked_autoencoder_sees_all_patches_in_order(tmp_path: Path) -> None:
    net = saved(tmp_path, "vit_mae")
    encoder = transformer(path=tmp_path)
    x = images()
    with torch.no_grad():
        net.config.mask_ratio = 0.0
        shuffled = net(pixel_values=x)
        expected = torch.gather(
            shuffled.last_hidden_state[:, 1:], 1, shuffled.ids_restore[:, :, None].expand(-1, -1, 16)
        )
        torch.testing.assert_close(encoder.tokens(x), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder(x)[:, :16], shuffled.last_hidden_state[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov3_vit", "siglip_vision_model", "convnextv2", "swinv2"])
def test_exported_equals_torch(tmp_path: Path, name: str) -> None:
    saved(tmp_path, name)
    encoder = transformer(path=tmp_path)
    runner = Runner(encoder, threads=1, backend="onnxruntime")
    assert runner.backend == "onnxruntime"
    x = images()
    with torch.no_grad():
        np.testing.assert_allclose(runner(x.numpy()), encoder(x).numpy(), atol=1e-4)
        np.testing.assert_allclose(runner(x.numpy()[:1]), encoder(x[:1]).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "dinov2", "siglip_vision_model", "convnextv2"])
def test_larger_input_has_a_larger_grid(tmp_path: Path, name: str) -> None:
    saved(tmp_path, name)
    small, large = transformer(path=tmp_path), transformer(path=tmp_path, size=64)
    assert large.spec.grid[0] == 2 * small.spec.grid[0]
    assert large(images(64)).shape == (3, large.spec.dim)


@pytest.mark.parametrize(
    "name", ["vit", "vit_mae", "dinov2", "dinov2_with_registers", "clip_vision_model", "siglip_vision_model"]
)
def test_position_embeddings_are_interpolated_as_transformers_does(tmp_path: Path, name: str) -> None:
    net, x = saved(tmp_path, name), images(48)
    options = {} if name.startswith("dinov2") else {"interpolate_pos_encoding": True}
    if name == "vit_mae":
        net.config.mask_ratio = 0.0
        options["noise"] = torch.arange(36.0).expand(3, 36)
    with torch.no_grad():
        encoder = transformer(path=tmp_path, size=48)
        expected = net(pixel_values=x, **options).last_hidden_state
        assert torch.equal(encoder.tokens(x), expected[:, SKIPPED.get(name, 0) :])


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_a_size_below_one_patch_is_refused(tmp_path: Path, name: str) -> None:
    saved(tmp_path, name)
    with pytest.raises(UsageError, match="takes no images of size=4"):
        transformer(path=tmp_path, size=4)


@pytest.mark.parametrize("name", ["dinov2", "dinov2_with_registers"])
def test_other_sizes_of_dinov2_are_exported(tmp_path: Path, name: str) -> None:
    net, x = saved(tmp_path, name), images(48)
    encoder = transformer(path=tmp_path, size=48)
    runner = Runner(encoder, threads=1, backend="onnxruntime")
    assert runner.backend == "onnxruntime"
    with torch.no_grad():
        expected = net(pixel_values=x).last_hidden_state[:, 0]
        np.testing.assert_allclose(runner(x.numpy())[:, :16], expected.numpy(), atol=1e-5)
        twin = copy.deepcopy(encoder)
        encoder.net.embeddings.position_embeddings.zero_()
        assert torch.equal(twin(x)[:, :16], expected)  # a copy has positions of its own
        assert not torch.equal(encoder(x)[:, :16], expected)


def test_interpolated_positions_by_an_independent_bicubic(tmp_path: Path) -> None:
    """With everything else at zero, a ViT's embeddings are its positions."""
    import cv2

    net = saved(tmp_path, "vit")
    positions = net.embeddings.position_embeddings.detach()[0, 1:].reshape(4, 4, 16).numpy()
    with torch.no_grad():
        net.embeddings.patch_embeddings.projection.weight.zero_()
        net.embeddings.patch_embeddings.projection.bias.zero_()
        found = net.embeddings(images(64), interpolate_pos_encoding=True)[0, 1:].reshape(8, 8, 16).numpy()
    # OpenCV's cubic has the same kernel (a = -0.75) and the same half-pixel centres.
    expected = cv2.resize(positions, (8, 8), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_efficientnet_divides_twice_where_its_authors_did(tmp_path: Path) -> None:
    saved(tmp_path, "efficientnet")
    said = {**PREPROCESSING, "include_top": True, "resample": 0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ArtefactError, match="resample='bicubic'"):
        transformer(path=tmp_path)
    spec = transformer(path=tmp_path, resample="bilinear").spec
    # ((p - m) / s) / s
    assert spec.std == pytest.approx((0.04, 0.0625, 0.09))
    assert (spec.mean, spec.resample) == ((0.4, 0.5, 0.6), "bilinear")
    with pytest.raises(UsageError, match="resample='nearest'"):
        transformer(path=tmp_path, resample="nearest")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSING, "rescale_offset": True}))
    with pytest.raises(ArtefactError, match="rescale_offset"):
        transformer(path=tmp_path)


def test_missing_preprocessing_says_what_was_expected(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ArtefactError, match=r"no preprocessor_config\.json[\s\S]*image_mean"):
        transformer(path=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": None},
        {"image_std": [0.5]},
        {"size": None},
        {"resample": 0},
        {"rescale_factor": 1 / 127.5},
        {"do_rescale": False},
    ],
)
def test_incomplete_preprocessing_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSING, **change}))
    with pytest.raises(ArtefactError):
        transformer(path=tmp_path)


def test_missing_weights_are_refused_and_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved(tmp_path, "dinov2")
    state = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in state if name.endswith("weight"))
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtefactError, match="lacks 1 weights"):
        transformer(path=tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    net = saved(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        transformer(path=tmp_path)


def test_unknown_architecture_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no config\.json"):
        transformer(path=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "resnest"}')
    with pytest.raises(UsageError, match="'resnet'"):
        transformer(path=tmp_path)
