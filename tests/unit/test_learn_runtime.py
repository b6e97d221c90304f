"""The runner: both backends agree, exports are kept, refusals are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.learn import runtime
from tapetum.learn.runtime import Runner
from tapetum.nets import EncoderSpec, build_encoder

TINY = "tiny(size=32, dim=8)"


def _batch(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, size, size), dtype=np.float32)


@pytest.mark.parametrize("spec", [TINY, "efficientnet_lite(size=64)"])
def test_backends_agree(spec: str) -> None:
    fast = Runner(build_encoder(spec), threads=1)
    slow = Runner(build_encoder(spec), threads=1, backend="torch")
    assert (fast.backend, slow.backend) == ("onnxruntime", "torch")
    x = _batch(5, fast.spec.size)
    a, b = fast(x), slow(x)
    assert a.dtype == b.dtype == np.float32
    assert a.shape == b.shape == (5, fast.spec.dim)
    np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(fast(x[:1]), a[:1], atol=1e-5)


def test_torch_backend_equals_plain_torch() -> None:
    encoder, x = build_encoder(TINY), _batch(3)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(x)).numpy()
        tokens = encoder.tokens(torch.from_numpy(x)).numpy()
    runner = Runner(build_encoder(TINY), threads=1, backend="torch")
    np.testing.assert_allclose(runner(x), expected, atol=1e-5)
    np.testing.assert_allclose(runner.tokens(x), tokens, atol=1e-5)


def test_export_is_kept_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Runner(build_encoder(TINY), threads=1, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing before it is needed
    first.ready()
    assert [p.suffix for p in tmp_path.iterdir()] == [".onnx"]
    monkeypatch.setattr(runtime, "export", lambda encoder: pytest.fail("exported a second time"))
    second = Runner(build_encoder(TINY), threads=1, cache=tmp_path)
    np.testing.assert_array_equal(first(_batch(2)), second(_batch(2)))


def test_other_weights_are_another_export(tmp_path: Path) -> None:
    for seed in (0, 1):
        Runner(build_encoder(f"tiny(size=32, dim=8, seed={seed})"), threads=1, cache=tmp_path).ready()
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_export_is_said_and_made_anew(tmp_path: Path) -> None:
    Runner(build_encoder(TINY), threads=1, cache=tmp_path).ready()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "onnxruntime"
    assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "onnxruntime"


class _Branching(torch.nn.Module):
    """Tracing freezes the branch that the all-zero example takes, so that the export differs on other inputs."""

    spec = EncoderSpec("branching", 8, (0.5,) * 3, (0.5,) * 3, 3, (1, 1), {"avg": (0, 3)}, 3, "avg", "0" * 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((2, 3))
        return mean if float(x.abs().sum()) == 0 else mean.flip(1)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)[:, None]


def test_export_that_differs_is_not_used(tmp_path: Path) -> None:
    runner = Runner(_Branching().eval(), threads=1, cache=tmp_path)
    with pytest.warns(RuntimeWarning, match="differs"):
        runner.ready()
    assert runner.backend == "torch"
    assert list(tmp_path.iterdir()) == []
    x = _batch(2, 8)
    np.testing.assert_allclose(runner(x), x.mean((2, 3))[:, ::-1], atol=1e-6)


def test_export_that_fails_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(encoder: object) -> bytes:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(runtime, "export", refuse)
    with pytest.warns(RuntimeWarning, match=r"cannot be exported \(no such operator\)"):
        assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "torch"


def test_threads_of_torch_are_given_back() -> None:
    before = torch.get_num_threads()
    Runner(build_encoder(TINY), threads=before + 1, backend="torch")(_batch(1))
    assert torch.get_num_threads() == before


def test_cosine_of_rows() -> None:
    a = np.array([[1, 0], [0, 0], [3, 4]], dtype=np.float32)
    assert runtime._cosine(a, a) == pytest.approx(1)
    assert runtime._cosine(a, a[[0, 1, 0]]) == pytest.approx(0.6)
    assert np.isnan(runtime._cosine(a, a + np.float32(np.nan)))


@pytest.mark.parametrize("options", [{"backend": "tensorrt"}, {"threads": 0}])
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Runner(build_encoder(TINY), **options)
