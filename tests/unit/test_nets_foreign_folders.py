"""Folders of timm and open_clip: what they must say, what is refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from foreign import (
    HEADS,
    IMAGE,
    bert_folder,
    clip_folder,
    clip_state,
    flair_text_state,
    resnet_state,
    saved,
    vit_state,
)
from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError
from tapetum.nets import build_encoder, build_text_encoder
from tapetum.nets.published.timm_layout import read_card

CFG: dict[str, Any] = {
    "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "input_size": [3, IMAGE, IMAGE], "interpolation": "bilinear",
}  # fmt: skip


def card(folder: Path, cfg: dict[str, Any], name: str = "vit_tiny_patch8_32.tag", *, flat: bool = False) -> Path:
    raw = {"architecture": name, **(cfg if flat else {"pretrained_cfg": cfg})}
    (folder / "config.json").write_text(json.dumps(raw))
    return folder


def timm(folder: Path, **options: Any) -> Any:
    said = "".join(f", {k}={v!r}" for k, v in options.items())
    return build_encoder(f"timm(weights={str(folder)!r}{said})")


# --- timm -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [False, True])
def test_a_card_is_read_in_both_of_its_forms(tmp_path: Path, flat: bool) -> None:
    got = read_card(card(tmp_path, CFG, flat=flat), "", 0, (), (), "")
    assert got.model == "vit_tiny_patch8_32"
    assert (got.pixels.size, got.pixels.mean, got.pixels.std) == (IMAGE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert got.pixels.resample == "bilinear"


def test_options_go_before_the_card(tmp_path: Path) -> None:
    got = read_card(card(tmp_path, CFG), "vit_tiny_patch8_32", 64, (0.0, 0.0, 0.0), (), "bicubic")
    assert (got.pixels.size, got.pixels.mean, got.pixels.std) == (64, (0.0, 0.0, 0.0), (0.2, 0.3, 0.4))
    assert got.pixels.resample == "bicubic"


@pytest.mark.parametrize("lost", ["mean", "std", "input_size", "interpolation"])
def test_what_the_card_does_not_say_is_not_guessed(tmp_path: Path, lost: str) -> None:
    option = {"input_size": "size", "interpolation": "resample"}.get(lost, lost)
    with pytest.raises(ArtefactError, match=f"does not say {option}"):
        read_card(card(tmp_path, {k: v for k, v in CFG.items() if k != lost}), "", 0, (), (), "")


def test_without_a_card_everything_has_to_be_said(tmp_path: Path) -> None:
    saved(tmp_path, vit_state())
    with pytest.raises(ArtefactError, match=r"does not say model, size, mean, std, resample; there is no config\.json"):
        timm(tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "resnet50"}, "says 'vit_tiny_patch8_32'"),
        ({"resample": "lanczos"}, "bilinear or bicubic"),
        ({"mean": (0.5,)}, "three values each"),
        ({"size": 36}, "a multiple of 8"),
        ({"heads": 3}, "3 heads for tokens of 16 columns"),
    ],
)
def test_contradicting_and_senseless_options(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    saved(card(tmp_path, CFG), vit_state())
    with pytest.raises(UsageError, match=told):
        timm(tmp_path, **{"heads": HEADS, **options})


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("efficientnet_b0", {"conv_stem.weight": torch.zeros(8, 3, 3, 3)}),
        ("resnetblur50", resnet_state()),  # the same keys as resnet50, and another network
        ("resnet50_mish", resnet_state()),
        ("vit_base_patch16_clip_quickgelu_224", vit_state()),
    ],
)
def test_architectures_that_are_not_read_without_timm(tmp_path: Path, name: str, state: dict[str, Any]) -> None:
    saved(card(tmp_path, CFG, name), state)
    with pytest.raises(UsageError, match=rf"holds {name!r}, which is not read without timm[\s\S]*library=True"):
        timm(tmp_path, heads=HEADS)


def test_keys_that_do_not_fit_point_to_the_library(tmp_path: Path) -> None:
    saved(card(tmp_path, CFG), vit_state() | {"norm_pre.weight": torch.ones(16)})
    with pytest.raises(ArtefactError, match=r"match nothing: norm_pre\.weight[\s\S]*library=True"):
        timm(tmp_path, heads=HEADS)


def test_the_library_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    saved(card(tmp_path, CFG), vit_state())
    with pytest.raises(MissingExtraError, match="pip install timm"):
        timm(tmp_path, library=True)


# --- open_clip ------------------------------------------------------------------------------------------------------


def _changed(folder: Path, part: str, change: dict[str, Any]) -> Path:
    path = folder / "open_clip_config.json"
    raw = json.loads(path.read_text())
    raw[part] = {**raw[part], **change} if change else {}
    path.write_text(json.dumps(raw))
    return folder


@pytest.mark.parametrize(
    ("part", "change", "error", "told"),
    [
        ("preprocess_cfg", {}, ArtefactError, "is not complete: image_size=32, mean=()"),
        ("preprocess_cfg", {"interpolation": "random"}, ArtefactError, "interpolation=random"),
        ("model_cfg", {"vision_cfg": {"image_size": [32, 48]}}, ArtefactError, "is not complete"),
        ("model_cfg", {"vision_cfg": {"image_size": 32, "attentional_pool": True}}, UsageError, "attentional_pool"),
        ("model_cfg", {"text_cfg": {"no_causal_mask": True}}, UsageError, "text_cfg of .* sets no_causal_mask"),
        ("model_cfg", {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1]}}, UsageError, "ResNet"),
        (
            "model_cfg", {"vision_cfg": {"image_size": 32, "timm_model_name": "convnext_base", "timm_pool": ""}},
            UsageError, "the image tower 'convnext_base'",
        ),
    ],
)  # fmt: skip
def test_configurations_that_are_not_read(
    tmp_path: Path, part: str, change: dict[str, Any], error: type[Exception], told: str
) -> None:
    folder = _changed(clip_folder(tmp_path, clip_state()), part, change)
    with pytest.raises(error, match=told.replace("()", r"\(\)")):
        build_encoder(f"open_clip(path={str(folder)!r})")


def test_neutral_options_are_read(tmp_path: Path) -> None:
    vision = {"image_size": IMAGE, "head_width": 8, "pool_type": "tok", "ls_init_value": None, "patch_dropout": 0.5}
    folder = _changed(clip_folder(tmp_path, clip_state()), "model_cfg", {"vision_cfg": vision})
    assert build_encoder(f"open_clip(path={str(folder)!r})").spec.size == IMAGE


@pytest.mark.parametrize("gone", ["vocab.json", "merges.txt"])
def test_a_missing_vocabulary_is_told_and_never_fetched(tmp_path: Path, gone: str) -> None:
    folder = clip_folder(tmp_path, clip_state())
    (folder / gone).unlink()
    with pytest.raises(ArtefactError, match=r"no vocabulary in[\s\S]*vocab\.json with merges\.txt"):
        build_text_encoder(f"open_clip(path={str(folder)!r})")


@pytest.mark.parametrize("gone", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_a_missing_file_is_told(tmp_path: Path, gone: str) -> None:
    folder = clip_folder(tmp_path, clip_state())
    (folder / gone).unlink()
    with pytest.raises(ArtefactError, match=gone.replace(".", r"\.")):
        build_encoder(f"open_clip(path={str(folder)!r})")


def test_a_text_tower_of_another_kind_is_refused(tmp_path: Path) -> None:
    text = {"hf_model_name": "FacebookAI/xlm-roberta-base", "hf_pooler_type": "mean_pooler"}
    folder = _changed(clip_folder(tmp_path, clip_state()), "model_cfg", {"text_cfg": text})
    with pytest.raises(UsageError, match="xlm-roberta-base"):
        build_text_encoder(f"open_clip(path={str(folder)!r})")


def test_another_size_has_another_grid(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path, clip_state())
    assert build_encoder(f"open_clip(path={str(folder)!r}, size={2 * IMAGE})").spec.grid == (8, 8)
    with pytest.raises(UsageError, match="a multiple of 8"):
        build_encoder(f"open_clip(path={str(folder)!r}, size=30)")


# --- FLAIR's text tower ---------------------------------------------------------------------------------------------


def test_flair_needs_a_bert_folder_and_its_own_file(tmp_path: Path) -> None:
    folder, net = bert_folder(tmp_path)
    state = flair_text_state(net)
    path = saved(tmp_path, {k: v for k, v in state.items() if "projection" not in k})
    with pytest.raises(ArtefactError, match=r"holds no FLAIR text tower[\s\S]*projection_head_text"):
        build_text_encoder(f"flair(path={str(folder)!r}, weights={str(path)!r})")
    saved(tmp_path, state)
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(ArtefactError, match="holds a 'roberta'"):
        build_text_encoder(f"flair(path={str(folder)!r}, weights={str(path)!r})")


def test_flair_cuts_long_texts(tmp_path: Path) -> None:
    folder, net = bert_folder(tmp_path)
    path = saved(tmp_path, flair_text_state(net))
    encoder = build_text_encoder(f"flair(path={str(folder)!r}, weights={str(path)!r})")
    assert encoder.spec.max_tokens == 32  # the small network's positions; 77 for the published one
    rows = encoder(["drusen " * 40, "drusen " * 50])
    torch.testing.assert_close(rows[0], rows[1])
