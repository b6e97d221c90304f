"""Image-text models: both towers give what the whole model gives, and so do scale and bias."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from small_models import PATCHED, PREPROCESSING, SMALL, TEXT, images, joint, saved, shaken, tokenizer
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.nets.encoders.transformer import transformer as image_tower
from tapetum.nets.local import joint_scale
from tapetum.nets.text.transformer import transformer as text_tower

hf.utils.logging.disable_progress_bar()
TEXTS = ["drusen", "hard exudates in the macula", "", "no " * 30, "no drusen"]


def _whole(folder: Path, name: str) -> tuple[Any, Any]:
    net = joint(name)
    net.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": PREPROCESSING}))
    return net, tokenizer(folder)


def _as_the_whole_model(net: Any, words: Any, name: str) -> dict[str, torch.Tensor]:
    kept = {"clip": ("input_ids", "attention_mask"), "siglip": ("input_ids",)}[name]
    padding = True if name == "clip" else "max_length"
    found = words(TEXTS, padding=padding, truncation=True, max_length=12, return_tensors="pt")
    with torch.no_grad():
        out = net(pixel_values=images(), **{key: found[key] for key in kept})
    return {"image": out.image_embeds, "text": out.text_embeds, "logits": out.logits_per_image}


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_both_towers_and_the_scale_give_the_models_logits(tmp_path: Path, name: str) -> None:
    expected = _as_the_whole_model(*_whole(tmp_path, name), name)
    encoder, text = image_tower(path=tmp_path), text_tower(path=tmp_path)
    a, b = encoder.spec.blocks["projection"]
    with torch.no_grad():
        image = torch.nn.functional.normalize(encoder(images())[:, a:b], dim=1)
    rows = text(TEXTS)
    scale, bias = joint_scale(tmp_path)
    torch.testing.assert_close(image, expected["image"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rows, expected["text"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(scale * image @ rows.T + bias, expected["logits"], atol=1e-4, rtol=1e-4)
    assert text.spec.dim == b - a


def test_scale_and_bias_by_hand(tmp_path: Path) -> None:
    net, _ = _whole(tmp_path, "siglip")
    with torch.no_grad():
        net.logit_scale.fill_(math.log(10))
        net.logit_bias.fill_(-2)
    net.save_pretrained(tmp_path)
    assert joint_scale(tmp_path) == (pytest.approx(10), pytest.approx(-2))


def test_blocks_of_whole_models_and_of_image_towers(tmp_path: Path) -> None:
    for name in ("clip", "siglip"):
        _whole(tmp_path / name, name)
    assert dict(image_tower(path=tmp_path / "clip").spec.blocks) == {
        "cls": (0, 16), "patch": (16, 32), "projection": (32, 44),
    }  # fmt: skip
    assert dict(image_tower(path=tmp_path / "siglip").spec.blocks) == {"projection": (0, 16), "patch": (16, 32)}
    saved(tmp_path / "alone", "siglip_vision_model")
    assert dict(image_tower(path=tmp_path / "alone").spec.blocks) == {"pool": (0, 16), "patch": (16, 32)}
    with pytest.raises(ArtefactError, match="no logit_scale"):
        joint_scale(tmp_path / "alone")


def test_towers_saved_alone_with_their_projection(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = shaken(hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**PATCHED, projection_dim=10)))
    image.save_pretrained(tmp_path / "image")
    (tmp_path / "image" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    text = shaken(hf.CLIPTextModelWithProjection(hf.CLIPTextConfig(**TEXT, projection_dim=10)))
    text.save_pretrained(tmp_path / "text")
    words = tokenizer(tmp_path / "text")(["hard drusen"], return_tensors="pt")
    encoder = image_tower(path=tmp_path / "image")
    with torch.no_grad():
        torch.testing.assert_close(encoder(images())[:, 32:42], image(pixel_values=images()).image_embeds)
        expected = text(input_ids=words["input_ids"]).text_embeds
    rows = text_tower(path=tmp_path / "text", normalise=False)(["hard drusen"])
    torch.testing.assert_close(rows, expected, atol=1e-6, rtol=1e-5)


def test_text_tower_without_a_projection_is_refused(tmp_path: Path) -> None:
    shaken(hf.CLIPTextModel(hf.CLIPTextConfig(**TEXT))).save_pretrained(tmp_path)
    tokenizer(tmp_path)
    with pytest.raises(ArtefactError, match=r"holds no text_projection\.weight"):
        text_tower(path=tmp_path)


def test_shorter_texts_of_siglip_are_still_padded_to_full_length(tmp_path: Path) -> None:
    net, words = _whole(tmp_path, "siglip")
    found = words(["no " * 30], padding=False, truncation=True, max_length=5)
    ids = found["input_ids"][0] + [0] * 7
    with torch.no_grad():
        expected = net.text_model(input_ids=torch.tensor([ids])).pooler_output
    rows = text_tower(path=tmp_path, max_tokens=5, normalise=False)(["no " * 30])
    torch.testing.assert_close(rows, expected, atol=1e-6, rtol=1e-5)


def _bert(folder: Path) -> Any:
    torch.manual_seed(0)
    config = hf.BertConfig(**{**SMALL, "num_hidden_layers": 4}, vocab_size=9, max_position_embeddings=12)
    net = shaken(hf.BertModel(config, add_pooling_layer=False))
    net.save_pretrained(folder)
    return net, tokenizer(folder)


def test_layers_are_averaged_without_padding(tmp_path: Path) -> None:
    net, words = _bert(tmp_path)
    encoder = text_tower(path=tmp_path, layers=(1, 2, -1), normalise=False)
    rows = encoder(["drusen", "hard exudates in macula"])
    for text, row in zip(["drusen", "hard exudates in macula"], rows, strict=True):
        with torch.no_grad():
            states = net(**words([text], return_tensors="pt"), output_hidden_states=True).hidden_states
        # FLAIR: the mean over tokens and over the hidden states 1, 2 and the last
        torch.testing.assert_close(row, (states[1] + states[2] + states[4])[0].mean(0) / 3, atol=1e-6, rtol=1e-5)
    plain = text_tower(path=tmp_path, normalise=False)
    assert encoder.spec != plain.spec
    with torch.no_grad():
        last = net(**words(["drusen"], return_tensors="pt")).last_hidden_state[0].mean(0)
    torch.testing.assert_close(plain(["drusen"])[0], last, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layers", [(5,), (-6,), ()])
def test_layers_that_do_not_exist(tmp_path: Path, layers: tuple[int, ...]) -> None:
    _bert(tmp_path)
    with pytest.raises(UsageError, match="numbers from 0"):
        text_tower(path=tmp_path, layers=layers)


def test_layers_of_a_tower_with_its_own_rule(tmp_path: Path) -> None:
    _whole(tmp_path, "clip")
    with pytest.raises(UsageError, match="pool by their own rule"):
        text_tower(path=tmp_path, layers=(1, -1))
