"""Published image-text models used as they are: logits equal those of the reference model on the same pixels."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from torch.nn import functional as F

from foreign import HEADS, JOINT, Noise, bert_folder, clip_folder, clip_state, flair_text_state, resnet_state, saved
from small_models import PREPROCESSING, joint, tokenizer
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.types import Embeddings
from tapetum.knowledge import load_pack, prompts
from tapetum.learn import load_model, zero_shot
from tapetum.learn.aligner.joint import text_spec
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.model import Model, joint_model
from tapetum.nets import build_encoder, build_text_encoder
from tapetum.nets.local import joint_scale

hf.utils.logging.disable_progress_bar()
CLOSE = {"atol": 2e-4, "rtol": 1e-4}
WORDS = ["drusen", "hard exudates in macula", "no drusen"]
PICTURES = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8) for i in range(3)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def embedded(model: Model, size: int = 32) -> tuple[Embeddings, torch.Tensor]:
    """Features of three pictures, and the tensor that a reference is fed."""
    embedder = Embedder(model.encoders, threads=1, backend="torch")
    pictures = [np.kron(p, np.ones((size // 32, size // 32, 1), np.uint8)) for p in PICTURES]
    pixels = torch.from_numpy(np.stack([embedder.preprocess[0](p) for p in pictures]))
    ids = tuple(map(str, range(len(pictures))))
    return Embeddings(ids, ids, embedder.pixels(pictures), embedder.encoders, embedder.blocks), pixels


def whole(folder: Path, name: str):
    net = joint(name)
    with torch.no_grad():
        net.logit_scale.fill_(math.log(20))
        if name == "siglip":
            net.logit_bias.fill_(-3.0)
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return net, tokenizer(folder)


def reference(net, words, texts, pixels, name) -> torch.Tensor:
    padding = True if name == "clip" else "max_length"
    found = words(texts, padding=padding, truncation=True, max_length=12, return_tensors="pt")
    kept = {"clip": ("input_ids", "attention_mask"), "siglip": ("input_ids",)}[name]
    with torch.no_grad():
        return net(pixel_values=pixels, **{key: found[key] for key in kept}).logits_per_image


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_folder_of_transformers_detects_as_the_whole_model_does(tmp_path: Path, name: str) -> None:
    net, words = whole(tmp_path, name)
    model = load_model(tmp_path)
    emb, pixels = embedded(model)
    expected = reference(net, words, WORDS, pixels, name)
    found = zero_shot(model, emb, WORDS)
    torch.testing.assert_close(torch.from_numpy(found.logits).float(), expected, **CLOSE)
    assert expected.std() > 1e-2  # the comparison is not between constants
    assert np.isnan(found.probs).all()
    again = load_model(model.save(tmp_path / "saved"))
    assert again.digest == model.digest
    assert again.space == model.space
    np.testing.assert_array_equal(zero_shot(again, emb, WORDS).logits, found.logits)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_prompts_are_averaged_at_length_1(tmp_path: Path, name: str) -> None:
    net, words = whole(tmp_path, name)
    spec = f"transformer(path={str(tmp_path)!r})"
    model = joint_model(spec, spec, pack="fundus", prompt_set="name")
    emb, pixels = embedded(model)
    found = zero_shot(model, emb, ["drusen", "hard_exudate"]).logits
    for column, finding in zip(found.T, ("drusen", "hard_exudate"), strict=True):
        said = list(prompts(load_pack("fundus"), finding, prompt_set="name"))
        assert len(said) > 1
        cosines = (reference(net, words, said, pixels, name) - model.space.bias) / model.space.scale
        rows = F.normalize(build_text_encoder(spec)(said), dim=1)
        mean = cosines.mean(1) / rows.mean(0).norm()  # the mean of unit rows, at length 1
        np.testing.assert_allclose(column, model.space.scale * mean + model.space.bias, atol=5e-4)


def test_open_clip_detects_as_its_towers_and_scale_say(tmp_path: Path) -> None:
    state = clip_state() | {"logit_scale": torch.tensor(math.log(30.0)), "logit_bias": torch.tensor([-2.0])}
    clip_folder(tmp_path, state)
    model = load_model(tmp_path)
    emb, pixels = embedded(model)
    image, text = build_encoder(model.encoders), build_text_encoder(model.text_encoder)
    first, last = image.spec.blocks["projection"]
    with torch.no_grad():
        rows = F.normalize(image(pixels)[:, first:last], dim=1)
    expected = 30.0 * rows @ F.normalize(text(["no a", "b c"]), dim=1).T - 2.0
    torch.testing.assert_close(
        torch.from_numpy(zero_shot(model, emb, ["no a", "b c"]).logits).float(), expected, **CLOSE
    )


def flair_folder(folder: Path, log_scale: float = 3.0) -> tuple[str, str]:
    """FLAIR's weights with its BERT's vocabulary beside them."""
    _, net = bert_folder(folder)
    noise = Noise(1)
    noise.add("vision_model.projection_head_vision.projection.weight", JOINT, 24)
    state = {f"vision_model.model.{k}": v for k, v in resnet_state().items()} | noise.state
    saved(folder, state | flair_text_state(net) | {"logit_scale": torch.tensor(log_scale)})
    return f"flair(weights={str(folder)!r}, size=64)", f"flair(path={str(folder)!r}, weights={str(folder)!r})"


@pytest.mark.parametrize(("log_scale", "scale"), [(3.0, math.exp(3)), (9.0, math.exp(4.6052)), (-1.0, 1.0)])
def test_flair_keeps_its_scale_in_range_and_asks_in_its_own_words(
    tmp_path: Path, log_scale: float, scale: float
) -> None:
    image, text = flair_folder(tmp_path, log_scale)
    model = joint_model(image, text)
    assert model.space.scale == pytest.approx(scale)
    emb, pixels = embedded(model, 64)
    tower = build_encoder(image)
    first, last = tower.spec.blocks["projection"]
    with torch.no_grad():
        rows = tower(pixels)[:, first:last]
    said = build_text_encoder(text)([f"A fundus photograph of {w}" for w in ("drusen", "exudates")])
    logits = torch.from_numpy(zero_shot(model, emb, ["drusen", "exudates"]).logits).float()
    torch.testing.assert_close(logits, scale * rows @ said.T, **CLOSE)
    assert load_model(tmp_path).space.kind == "flair"
    assert text_spec(image) == text_spec(image, text) == text


def test_towers_of_two_checkpoints_are_refused_and_copies_are_not(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1), ("copy", 0)):
        joint("clip", seed).save_pretrained(tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
        tokenizer(tmp_path / name)
    a, b, copy = (f"transformer(path={str(tmp_path / n)!r})" for n in ("a", "b", "copy"))
    with pytest.raises(UsageError, match="not the two towers of one checkpoint") as caught:
        joint_model(a, b)
    assert str(tmp_path / "a") in caught.value.next_step
    for text in ("minilm", "tiny()"):
        with pytest.raises(UsageError, match="not the two towers"):
            joint_model(a, text)
    assert joint_model(a, copy).space == joint_model(a, a).space
    with pytest.raises(UsageError, match="a joint space of"):
        joint_model(f"{a} + tiny()", a)
    with pytest.raises(UsageError, match="a joint space of"):
        joint_model("tiny()", "tiny()")


def test_a_tower_alone_has_no_joint_space(tmp_path: Path) -> None:
    hf.CLIPVisionModel(hf.CLIPVisionConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, image_size=32, patch_size=8)).save_pretrained(tmp_path)  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    spec = f"transformer(path={str(tmp_path)!r})"
    assert text_spec(spec) == ""
    with pytest.raises(ArtefactError, match="none of them shared with texts"):
        joint_model(spec, spec)
    with pytest.raises(ArtefactError):
        load_model(tmp_path)


def test_scales_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    clip_folder(tmp_path, clip_state() | {"logit_scale": torch.tensor(float("nan"))})
    with pytest.raises(ArtefactError, match="stores"):
        joint_scale(tmp_path / "open_clip_model.safetensors")
    clip_folder(tmp_path, {k: v for k, v in clip_state().items() if k != "logit_scale"})
    with pytest.raises(ArtefactError, match="no logit_scale"):
        joint_scale(tmp_path / "open_clip_model.safetensors")


def test_digests_of_models_without_a_published_space_are_unchanged(tmp_path: Path) -> None:
    whole(tmp_path, "clip")
    model = load_model(tmp_path)
    learned = dataclasses.replace(model, space=None)
    assert "space" not in learned._describe()
    assert learned.digest != model.digest
    assert HEADS == 2
