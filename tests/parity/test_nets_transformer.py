"""Models of `transformers` read from a folder give what `transformers` itself gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.learn.runtime import Runner
from tapetum.nets import build_encoder
from tapetum.nets.encoders.transformer import transformer

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
PATCHED = {**SMALL, "image_size": 32, "patch_size": 8}
CONV = {"hidden_sizes": [8, 8, 12, 16], "depths": [1, 1, 1, 1]}
MODELS = {
    "vit": (hf.ViTConfig, hf.ViTModel, PATCHED),
    "deit": (hf.DeiTConfig, hf.DeiTModel, PATCHED),
    "vit_mae": (hf.ViTMAEConfig, hf.ViTMAEModel, PATCHED),
    "dinov2": (hf.Dinov2Config, hf.Dinov2Model, PATCHED),
    "dinov2_with_registers": (hf.Dinov2WithRegistersConfig, hf.Dinov2WithRegistersModel, PATCHED),
    "dinov3_vit": (hf.DINOv3ViTConfig, hf.DINOv3ViTModel, {**PATCHED, "num_register_tokens": 4}),
    "siglip_vision_model": (hf.SiglipVisionConfig, hf.SiglipVisionModel, PATCHED),
    "clip_vision_model": (hf.CLIPVisionConfig, hf.CLIPVisionModel, PATCHED),
    "convnextv2": (hf.ConvNextV2Config, hf.ConvNextV2Model, CONV),
    "resnet": (hf.ResNetConfig, hf.ResNetModel, {**CONV, "embedding_size": 8}),
    "swinv2": (
        hf.Swinv2Config, hf.Swinv2Model,
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
}  # fmt: skip
SKIPPED = {"vit": 1, "deit": 2, "dinov2": 1, "dinov2_with_registers": 5, "dinov3_vit": 5, "clip_vision_model": 1}
PREPROCESSING = {
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3], "resample": 3, "rescale_factor": 1 / 255,
    "size": {"height": 32, "width": 32},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _silent() -> None:
    hf.utils.logging.disable_progress_bar()


def _saved(folder: Path, name: str) -> torch.nn.Module:
    config, model, options = MODELS[name]
    torch.manual_seed(0)
    net = model(config(**options)).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # biases, scales and class tokens start at 0 or 1 and would hide errors
            parameter.add_(0.1 * torch.randn(parameter.shape))
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return net


def _images(size: int = 32) -> torch.Tensor:
    return torch.randn((3, 3, size, size), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"vit_mae"}))
def test_blocks_and_tokens_equal_the_model(tmp_path: Path, name: str) -> None:
    net = _saved(tmp_path, name)
    encoder = build_encoder(f"transformer(path={str(tmp_path)!r})")
    x = _images()
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
    torch.testing.assert_close(tokens, expected_tokens, atol=1e-5, rtol=1e-5)
    for block, (a, b) in encoder.spec.blocks.items():
        torch.testing.assert_close(features[:, a:b], expected[block], atol=1e-5, rtol=1e-5)
    assert encoder.spec.mean == (0.4, 0.5, 0.6)
    assert encoder.spec.std == (0.2, 0.25, 0.3)
    assert encoder.spec.grid[0] * encoder.spec.grid[1] == tokens.shape[1]
    assert encoder.spec.size == 32


def test_masked_autoencoder_sees_all_patches_in_order(tmp_path: Path) -> None:
    net = _saved(tmp_path, "vit_mae")
    encoder = transformer(path=tmp_path)
    x = _images()
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
    _saved(tmp_path, name)
    encoder = transformer(path=tmp_path)
    runner = Runner(encoder, threads=1)
    assert runner.backend == "onnxruntime"
    x = _images()
    with torch.no_grad():
        np.testing.assert_allclose(runner(x.numpy()), encoder(x).numpy(), atol=1e-4)
        np.testing.assert_allclose(runner(x.numpy()[:1]), encoder(x[:1]).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "dinov2", "siglip_vision_model", "convnextv2"])
def test_larger_input_has_a_larger_grid(tmp_path: Path, name: str) -> None:
    _saved(tmp_path, name)
    small, large = transformer(path=tmp_path), transformer(path=tmp_path, size=64)
    assert large.spec.grid[0] == 2 * small.spec.grid[0]
    assert large(_images(64)).shape == (3, large.spec.dim)


def test_text_and_image_checkpoint_gives_its_image_side(tmp_path: Path) -> None:
    config = hf.SiglipConfig(
        vision_config=PATCHED,
        text_config={**SMALL, "vocab_size": 50, "max_position_embeddings": 8, "projection_size": 16},
    )
    torch.manual_seed(0)
    net = hf.SiglipModel(config).eval()
    net.save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": PREPROCESSING}))
    encoder = transformer(path=tmp_path)
    with torch.no_grad():
        pooled = net.vision_model(pixel_values=_images()).pooler_output
        torch.testing.assert_close(encoder(_images())[:, :16], pooled, atol=1e-5, rtol=1e-5)


def test_missing_preprocessing_says_what_was_expected(tmp_path: Path) -> None:
    _saved(tmp_path, "vit")
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
    _saved(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSING, **change}))
    with pytest.raises(ArtefactError):
        transformer(path=tmp_path)


def test_missing_weights_are_refused_and_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _saved(tmp_path, "dinov2")
    state = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in state if name.endswith("weight"))
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtefactError, match="lacks 1 weights"):
        transformer(path=tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    net = _saved(tmp_path, "vit")
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
