"""Text towers: pinned values, cutting, invalid use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError
from tapetum.nets import build_text_encoder
from tapetum.nets.text import minilm as module
from tapetum.nets.text.tiny import _features


def test_words_and_triples_by_hand() -> None:
    assert _features("No pit") == [
        (1.0, "no"), (1.0, "pit"), (0.3, "# no"), (0.3, "#no "), (0.3, "# pi"), (0.3, "#pit"), (0.3, "#it "),
    ]  # fmt: skip


def test_hashing_is_the_same_everywhere() -> None:
    # Pinned: Python's own hash() would change with every process.
    torch.testing.assert_close(
        build_text_encoder("tiny(dim=6)")(["drusen"]),
        torch.tensor([[0.0, 0.265165, -0.206239, -0.088388, 0.648181, -0.677644]]),
        atol=1e-5,
        rtol=0,
    )


def test_kindred_texts_are_near() -> None:
    a, b, c = build_text_encoder("tiny")(["retinal haemorrhages", "Retinal haemorrhage.", "optic disc cupping"])
    assert a @ b > 0.5
    assert a @ c < 0.3


def test_empty_text_is_zero_for_tiny() -> None:
    assert not build_text_encoder("tiny")(["", " .,"]).any()


def test_wrong_dimension() -> None:
    with pytest.raises(UsageError, match="dim=1"):
        build_text_encoder("tiny(dim=1)")


def test_missing_package_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install -c constraints"):
        module.minilm()


def test_minilm_is_silent_and_knows_its_field() -> None:
    code = (
        "from tapetum.nets import build_text_encoder as b; m = b('minilm');"
        "r = m(['glaucoma', 'optic disc cupping', 'a train to the sea']);"
        "print(m.spec.dim, bool(r[0] @ r[1] > r[0] @ r[2] + 0.1))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "384 True\n"
    assert done.stderr == ""


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no config\.json"):
        build_text_encoder(f"transformer(path={str(tmp_path)!r})")
