"""From a pickled checkpoint to a folder with safetensors, through a child that can do nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foreign import HEADS, IMAGE, Hostile, saved, vit_state
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.learn.convert import convert, limits_for
from tapetum.nets import build_encoder


def test_a_checkpoint_as_retfound_publishes_it_becomes_an_encoder(tmp_path: Path) -> None:
    state = vit_state()
    shared = {
        "decoder_a": state["norm.weight"],
        "decoder_b": torch.ones(2, dtype=torch.bfloat16),
        "head.n": torch.tensor(3),
    }
    held = {
        "model": {f"module.{k}": v for k, v in (state | shared).items()}, "optimizer": {"lr": 1.0}, "epoch": 7,
        "args": argparse.Namespace(model="RETFound_mae"),
    }  # fmt: skip
    torch.save(held, tmp_path / "RETFound.pth")
    (tmp_path / "config.json").write_text("{}")
    done = convert(tmp_path / "RETFound.pth", tmp_path / "out")
    assert (done.inside, done.prefix, done.copied) == (("model",), "module.", ("config.json",))
    assert set(done.left_out) == {"optimizer", "epoch", "args"}
    assert set(done.cloned) == {"norm.weight", "decoder_a"}
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert set(written) == set(state | shared)
    assert all(torch.equal(written[k], v) and written[k].dtype == v.dtype for k, v in (state | shared).items())
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["sha256"] == done.sha256
    assert done.parameters == sum(v.numel() for v in written.values())
    assert "taken from model" in str(done)
    assert "'module.' taken off" in str(done)

    options = f"size={IMAGE}, heads={HEADS}"
    plain = saved(tmp_path, state, "plain.safetensors")
    ours = build_encoder(f"retfound(weights={str(tmp_path / 'out')!r}, {options})")
    other = build_encoder(f"retfound(weights={str(plain)!r}, {options})")
    assert ours.spec.weights_digest == other.spec.weights_digest
    with pytest.raises(UsageError, match="is there already"):
        convert(tmp_path / "RETFound.pth", tmp_path / "out")


def test_a_hostile_checkpoint_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(1)}, "x": Hostile(tmp_path / "owned")}, tmp_path / "x.pth")
    with pytest.raises(ArtefactError, match=r"x\.pth cannot be read as tensors: it wants \w+\.system"):
        convert(tmp_path / "x.pth", tmp_path / "out")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "out").exists()


def test_other_files_are_refused_before_a_child_starts(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no file"):
        convert(tmp_path / "x.pth", tmp_path / "out")
    (tmp_path / "x.h5").write_bytes(b"")
    with pytest.raises(UsageError, match=r"x\.h5 is none of"):
        convert(tmp_path / "x.h5", tmp_path / "out")


def test_limits_grow_with_the_file() -> None:
    small, large = limits_for(10**6), limits_for(4 * 10**9)
    assert small.memory_bytes < 2**31 < 4 * 4 * 10**9 < large.memory_bytes
    assert large.answer_bytes > 4 * 10**9
    assert large.file_bytes == 0
