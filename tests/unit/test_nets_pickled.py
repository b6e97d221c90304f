"""Checkpoints of others: what is read out of them, and what is refused before anything of it runs."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from foreign import Hostile
from tapetum.core.errors import ArtefactError
from tapetum.nets.published.pickled import load_pickled, read_pickled, unwrap
from tapetum.nets.spec import read_state

ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("held", "inside", "prefix"),
    [
        ({"w": ONE}, (), ""),
        ({"model": {"w": ONE}, "epoch": 3}, ("model",), ""),
        ({"state_dict": {"module.w": ONE}}, ("state_dict",), "module."),
        ({"teacher": {"w": ONE}, "student": {"w": 2 * ONE}}, ("teacher",), ""),
        ({"model": {"state_dict": {"_orig_mod.module.w": ONE}}}, ("model", "state_dict"), "_orig_mod.module."),
    ],
)
def test_unwrapping_finds_the_network_and_says_where(held: Any, inside: tuple[str, ...], prefix: str) -> None:
    found = unwrap(held, "x.pth")
    assert list(found.state) == ["w"]
    assert torch.equal(found.state["w"], ONE)
    assert (found.inside, found.prefix) == (inside, prefix)


def test_unwrapping_by_name_and_what_is_left_out() -> None:
    held = {"model": {"w": ONE}, "ema": {"w": 2 * ONE, "n": 3}, "epoch": 1}
    found = unwrap(held, "x.pth", "ema")
    assert found.state["w"].tolist() == [2, 2]
    assert found.left_out == ("model", "epoch", "ema.n")
    with pytest.raises(ArtefactError, match="has no 'teacher' in it; it has ema, epoch, model"):
        unwrap(held, "x.pth", "teacher")


@pytest.mark.parametrize("held", [[ONE], {"epoch": 3}, {"model": {"epoch": 1}}])
def test_without_tensors_it_is_refused(held: Any) -> None:
    with pytest.raises(ArtefactError, match=r"x\.pth holds"):
        unwrap(held, "x.pth")


def test_a_prefix_that_not_every_key_has_stays() -> None:
    assert set(unwrap({"module.w": ONE, "head": ONE}, "x").state) == {"module.w", "head"}


def test_settings_and_numpy_numbers_beside_the_network_are_harmless(tmp_path: Path) -> None:
    held = {"model": {"w": ONE}, "args": argparse.Namespace(lr=1e-3, name="a"), "best": np.float64(0.9)}
    torch.save(held, tmp_path / "x.pth")
    got = load_pickled(tmp_path / "x.pth")
    assert got["args"].lr == 1e-3
    assert read_state(tmp_path / "x.pth")["w"].tolist() == [1, 1]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path: Path, zipped: bool) -> None:
    held = {"model": {"w": ONE}, "extra": Hostile(tmp_path / "owned")}
    torch.save(held, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ArtefactError, match=r"wants \w+\.system, which could run code; nothing ran") as refused:
        load_pickled(tmp_path / "x.pth")
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "owned").exists()


def test_the_mark_would_be_made_by_a_plain_unpickler(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Hostile(tmp_path / "owned")))
    assert (tmp_path / "owned").exists()


def test_whole_networks_and_other_files_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(ArtefactError, match=r"wants torch\.nn\.modules\.linear\.Linear"):
        load_pickled(tmp_path / "net.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(ArtefactError, match="cannot be read as tensors") as refused:
        load_pickled(tmp_path / "text.pth")
    assert "weights_only" not in str(refused.value)


def test_what_a_child_answers_is_plain(tmp_path: Path) -> None:
    w = torch.arange(6.0).reshape(2, 3)
    state = {"w": w, "view": w[0], "h": ONE.bfloat16(), "n": torch.tensor(4), "none": torch.zeros(0, 3)}
    torch.save({"model": state, "epoch": 2}, tmp_path / "x.pth")
    got = read_pickled(str(tmp_path / "x.pth"), "")
    assert got["shapes"] == {"w": [2, 3], "view": [3], "h": [2], "n": [], "none": [0, 3]}
    assert got["tensors"]["view"].tolist() == [0, 1, 2]
    assert "none" not in got["tensors"]
    assert (got["bfloat16"], got["left_out"]) == (["h"], ["epoch"])
    assert sorted(got["shared"]) == ["view", "w"]


# --- shards ---------------------------------------------------------------------------------------------------------


def _sharded(folder: Path, **places: str) -> Path:
    save_file({"a": ONE}, folder / "model-1.safetensors")
    save_file({"b": 2 * ONE}, folder / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", **places}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_shards_are_joined(tmp_path: Path) -> None:
    state = read_state(_sharded(tmp_path))
    assert {k: v.tolist() for k, v in state.items()} == {"a": [1, 1], "b": [2, 2]}


@pytest.mark.parametrize(
    ("places", "told"),
    [({"c": "model-2.safetensors"}, "first c"), ({"c": "../x.safetensors"}, "files in the same folder"),
     ({"c": "model-3.safetensors"}, "no weights at")],
)  # fmt: skip
def test_broken_shards_are_refused(tmp_path: Path, places: dict[str, str], told: str) -> None:
    with pytest.raises(ArtefactError, match=told):
        read_state(_sharded(tmp_path, **places))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ArtefactError, match="is damaged"):
        read_state(tmp_path)
