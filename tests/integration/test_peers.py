"""Networks of timm and open_clip, built by these packages with random weights, read by us: equal outputs.

Needs a folder with timm, open_clip and torchvision, named by TAPETUM_PEERS; they are no dependencies of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest
import torch
from safetensors.torch import load_file

from tapetum.nets import build_encoder, build_text_encoder

pytestmark = pytest.mark.slow

PEERS = os.environ.get("TAPETUM_PEERS", "")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not PEERS or not Path(PEERS).is_dir():
        pytest.skip("the peers' folder is absent: TAPETUM_PEERS names none")
    out = tmp_path_factory.mktemp("peers")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("peers.py")), PEERS, str(out)],
        capture_output=True, text=True, check=False, timeout=550,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    yield out
    shutil.rmtree(out)  # some hundred megabytes


CASES = [(case, size) for case, (_, _, sizes) in peers.TIMM.items() for size in sizes]


@pytest.mark.parametrize(("case", "size"), CASES)
def test_timm(made: Path, case: str, size: int) -> None:
    torch.set_num_threads(1)
    folder = made / "timm" / case
    expected = load_file(folder / "expected.safetensors")
    encoder = build_encoder(f"timm(weights={str(folder)!r}, size={size})")
    x = expected[f"x{size}"]
    with torch.no_grad():
        features, tokens = encoder(x), encoder.tokens(x)
    blocks = encoder.spec.blocks
    if case != "vit_avg":  # there, timm leaves the tokens without a norm, and so do we
        torch.testing.assert_close(tokens, expected[f"tokens{size}"], **CLOSE)
    pooled = next((name for name in ("pool", "cls") if name in blocks), "avg")
    a, b = blocks[pooled]
    torch.testing.assert_close(features[:, a:b], expected[f"pool{size}"], **CLOSE)
    assert features.std(0).mean() > 1e-3  # the two images are told apart


def test_through_the_library(made: Path) -> None:
    told = json.loads((made / "library.json").read_text())
    assert set(told) == set(peers.LIBRARY)
    assert max(told.values()) < 1e-5


@pytest.mark.parametrize("case", sorted(peers.CLIP))
def test_open_clip(made: Path, case: str) -> None:
    torch.set_num_threads(1)
    folder = made / "open_clip" / case
    expected = load_file(folder / "expected.safetensors")
    encoder = build_encoder(f"open_clip(path={str(folder)!r})")
    a, b = encoder.spec.blocks["projection"]
    with torch.no_grad():
        image = encoder(expected["x"])[:, a:b]
    torch.testing.assert_close(image, expected["image"], **CLOSE)
    rows = build_text_encoder(f"open_clip(path={str(folder)!r})")(peers.TEXTS)
    torch.testing.assert_close(rows, expected["rows"], **CLOSE)
    assert min(image.std(0).max(), rows.std(0).max()) > 1e-2


def test_the_wrong_activation_would_show(made: Path) -> None:
    folder = made / "open_clip" / "vit_quick"
    expected = load_file(folder / "expected.safetensors")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = False
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    rows = build_text_encoder(f"open_clip(path={str(folder.parent / 'vit_quick')!r}, heads=2)")(peers.TEXTS)
    assert (rows - expected["rows"]).abs().max() > 5 * CLOSE["atol"]
