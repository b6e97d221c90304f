"""The runner: both backends agree, exports are kept, refusals are said."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from tapetum.core.errors import MissingExtraError, UsageError
from tapetum.learn.features import runtime
from tapetum.learn.features.runtime import Runner
from tapetum.nets import EncoderSpec, build_encoder

TINY = "tiny(size=32, dim=8)"


def _batch(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, size, size), dtype=np.float32)


@pytest.mark.parametrize("spec", [TINY, "efficientnet_lite(size=64)"])
def test_backends_agree(spec: str) -> None:
    fast = Runner(build_encoder(spec), threads=1, backend="onnxruntime")
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
    first = Runner(build_encoder(TINY), threads=1, cache=tmp_path, backend="onnxruntime")
    assert list(tmp_path.iterdir()) == []  # nothing before it is needed
    first.ready()
    assert [p.suffix for p in tmp_path.iterdir()] == [".onnx"]
    monkeypatch.setattr(runtime, "export", lambda encoder: pytest.fail("exported a second time"))
    second = Runner(build_encoder(TINY), threads=1, cache=tmp_path, backend="onnxruntime")
    np.testing.assert_array_equal(first(_batch(2)), second(_batch(2)))


def test_other_weights_are_another_export(tmp_path: Path) -> None:
    for seed in (0, 1):
        Runner(
            build_encoder(f"tiny(size=32, dim=8, seed={seed})"), threads=1, cache=tmp_path, backend="onnxruntime"
        ).ready()
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_export_is_said_and_made_anew(tmp_path: Path) -> None:
    Runner(build_encoder(TINY), threads=1, cache=tmp_path, backend="onnxruntime").ready()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert Runner(build_encoder(TINY), threads=1, cache=tmp_path, backend="onnxruntime").backend == "onnxruntime"
    assert Runner(build_encoder(TINY), threads=1, cache=tmp_path, backend="onnxruntime").backend == "onnxruntime"


class _Branching(torch.nn.Module):
    """Tracing freezes the branch that the all-zero example takes, so that the export differs on other inputs."""

    spec = EncoderSpec("branching", 8, (0.5,) * 3, (0.5,) * 3, 3, (1, 1), {"avg": (0, 3)}, 3, "avg", "0" * 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((2, 3))
        return mean if float(x.abs().sum()) == 0 else mean.flip(1)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)[:, None]


def test_export_that_differs_is_not_used(tmp_path: Path) -> None:
    runner = Runner(_Branching().eval(), threads=1, cache=tmp_path, backend="onnxruntime")
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
        assert Runner(build_encoder(TINY), threads=1, cache=tmp_path, backend="onnxruntime").backend == "torch"


def test_threads_of_torch_are_given_back() -> None:
    before = torch.get_num_threads()
    Runner(build_encoder(TINY), threads=before + 1, backend="torch")(_batch(1))
    assert torch.get_num_threads() == before


def test_cosine_of_rows() -> None:
    a = np.array([[1, 0], [0, 0], [3, 4]], dtype=np.float32)
    assert runtime._cosine(a, a) == pytest.approx(1)
    assert runtime._cosine(a, a[[0, 1, 0]]) == pytest.approx(0.6)
    assert np.isnan(runtime._cosine(a, a + np.float32(np.nan)))


@pytest.fixture(autouse=True)
def _nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_chosen", {})
    # what is installed on this machine must not decide what these tests see
    monkeypatch.setattr(runtime, "has_openvino", lambda: False)


def _slowed(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> list[list[str]]:
    """Measurements with these results; the list of ways measured is kept."""
    asked: list[list[str]] = []

    def measured(ways: Mapping[str, object], size: int) -> dict[str, float]:
        asked.append(sorted(ways))
        return {name: seconds[name] for name in ways}

    monkeypatch.setattr(runtime, "_measured", measured)
    return asked


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({"onnxruntime": 1.0, "torch": 2.0, "torch-eager": 3.0}, "onnxruntime"),
        ({"onnxruntime": 3.0, "torch": 1.0, "torch-eager": 2.0}, "torch"),
        ({"onnxruntime": 3.0, "torch": 2.0, "torch-eager": 1.0}, "torch-eager"),
        ({"onnxruntime": 1.04, "torch": 1.0, "torch-eager": 1.0}, "onnxruntime"),  # as good as equal
    ],
)
def test_the_fastest_is_used_and_rows_stay_equal(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], best: str
) -> None:
    _slowed(monkeypatch, seconds)
    runner, x = Runner(build_encoder(TINY), threads=1), _batch(3)
    assert runner.backend == best
    with torch.no_grad():
        np.testing.assert_allclose(runner(x), build_encoder(TINY)(torch.from_numpy(x)).numpy(), atol=1e-4)


def test_the_choice_is_kept_beside_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _slowed(monkeypatch, {"onnxruntime": 3.0, "torch": 1.0, "torch-eager": 2.0})
    assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "torch"
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".onnx"]
    (note,) = tmp_path.glob("*.json")
    said = json.loads(note.read_text())
    assert (said["backend"], said["threads"], said["seconds_per_image"]["torch"]) == ("torch", 1, 1.0)
    assert said["processor"]
    monkeypatch.setattr(runtime, "export", lambda encoder: pytest.fail("exported a second time"))
    assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "torch"
    assert len(asked) == 1
    # Other thread counts and other processors are measured for themselves.
    assert Runner(build_encoder(TINY), threads=2, cache=tmp_path).backend == "torch"
    monkeypatch.setattr(runtime, "processor", lambda: "another one")
    assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "torch"
    assert len(asked) == len(list(tmp_path.glob("*.json"))) == 3


def test_without_a_cache_it_is_measured_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _slowed(monkeypatch, {"onnxruntime": 1.0, "torch": 2.0, "torch-eager": 3.0})
    assert [Runner(build_encoder(TINY), threads=1).backend for _ in range(3)] == ["onnxruntime"] * 3
    assert asked == [["onnxruntime", "torch", "torch-eager"]]


@pytest.mark.parametrize("text", ["{", "[]", '{"seconds": 1}'])
def test_a_damaged_note_is_said_and_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    asked = _slowed(monkeypatch, {"onnxruntime": 1.0, "torch": 2.0, "torch-eager": 3.0})
    Runner(build_encoder(TINY), threads=1, cache=tmp_path).ready()
    (note,) = tmp_path.glob("*.json")
    note.write_text(text)
    with pytest.warns(RuntimeWarning, match="measured anew"):
        assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "onnxruntime"
    assert len(asked) == 2


def test_a_backend_that_is_gone_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _slowed(monkeypatch, {"onnxruntime": 1.0, "torch": 2.0, "torch-eager": 3.0})
    Runner(build_encoder(TINY), threads=1, cache=tmp_path).ready()
    (note,) = tmp_path.glob("*.json")
    note.write_text('{"backend": "openvino"}')
    monkeypatch.setattr(runtime, "has_openvino", lambda: False)
    assert Runner(build_encoder(TINY), threads=1, cache=tmp_path).backend == "onnxruntime"
    assert len(asked) == 2


def test_measuring_is_short_and_covers_every_way() -> None:
    calls: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    def way(name: str, seconds: float) -> runtime._Way:
        def run(x: np.ndarray) -> np.ndarray:
            calls[name].append(len(x))
            time.sleep(seconds * len(x))
            return x

        return runtime._Way(run)

    found = runtime._measured({"a": way("a", 0.002), "b": way("b", 0.0025), "c": way("c", 0.02)}, 8)
    assert 0.002 <= found["a"] < found["b"] < found["c"]
    # one image to warm up, then rounds of four; what is hopeless leaves after two
    assert calls == {"a": [1, *[4] * 9], "b": [1, *[4] * 9], "c": [1, 4, 4]}


def test_a_burst_of_other_load_does_not_decide() -> None:
    """The truly faster way is slow in most of its rounds; every round meets it once first and once last."""
    order: list[str] = []

    def way(name: str, seconds: float) -> runtime._Way:
        def run(x: np.ndarray) -> np.ndarray:
            order.append(name)
            disturbed = name == "fast" and order.count("fast") in (2, 4, 5, 6)
            time.sleep(0.03 if disturbed else seconds)
            return x

        return runtime._Way(run)

    found = runtime._measured({"slow": way("slow", 0.012), "fast": way("fast", 0.004)}, 8)
    assert found["fast"] < found["slow"]
    assert order[2:6] == ["slow", "fast", "fast", "slow"]


def test_slow_networks_are_measured_by_single_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_SLOW_IMAGE", 0.001)
    monkeypatch.setattr(runtime, "_PROBE_SECONDS", 0.0)
    calls: list[int] = []
    other: list[int] = []

    def run(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        time.sleep(0.002)
        return x

    def run_other(x: np.ndarray) -> np.ndarray:
        other.append(len(x))
        time.sleep(0.002)
        return x

    runtime._measured({"a": runtime._Way(run), "b": runtime._Way(run_other)}, 8)
    assert calls == other == [1, 1, 1, 1, 1]  # the warm-up, and the fewest rounds


def test_an_export_that_is_close_but_not_equal_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _slowed(monkeypatch, {"onnxruntime": 1.0, "torch": 2.0, "torch-eager": 3.0})
    monkeypatch.setattr(Runner, "_distance", lambda self, way: 2e-4)
    assert Runner(build_encoder(TINY), threads=1).backend == "torch"
    assert asked == [["torch", "torch-eager"]]


class _Core:
    """OpenVINO's interface as far as it is used, computing through onnxruntime."""

    options: ClassVar[dict[str, object]] = {}
    shift: ClassVar[float] = 0.0

    def read_model(self, stream: io.BytesIO) -> bytes:
        return stream.read()

    def compile_model(self, data: bytes, device: str, options: dict[str, object]) -> object:
        assert device == "CPU"
        type(self).options = options
        inner = runtime._session(data, 1)
        return lambda inputs: {0: inner.run(inputs[0]) + self.shift}


def test_openvino_itself_agrees_and_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    monkeypatch.setattr(runtime, "has_openvino", lambda: True)
    runner, x = Runner(build_encoder(TINY), threads=1, backend="openvino"), _batch(3)
    with torch.no_grad():
        expected = build_encoder(TINY)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(runner(x), expected, atol=1e-5)
    assert runner.backend == "openvino"
    assert sys.modules.get("openvino_telemetry") is None


def _with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_openvino", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=_Core))


def test_openvino_is_a_candidate_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package: what is asked of it, not its speed."""
    _with_openvino(monkeypatch)
    _slowed(monkeypatch, {"onnxruntime": 2.0, "torch": 2.0, "torch-eager": 3.0, "openvino": 1.0})
    runner, x = Runner(build_encoder(TINY), threads=3), _batch(3)
    assert runner.backend == "openvino"
    assert _Core.options == {"INFERENCE_NUM_THREADS": 3, "INFERENCE_PRECISION_HINT": "f32"}
    with torch.no_grad():
        np.testing.assert_allclose(runner(x), build_encoder(TINY)(torch.from_numpy(x)).numpy(), atol=1e-4)


def test_openvino_that_fails_or_differs_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_openvino(monkeypatch)
    asked = _slowed(monkeypatch, {"onnxruntime": 1.0, "torch": 2.0, "torch-eager": 3.0})
    monkeypatch.setattr(_Core, "shift", 0.01)
    assert Runner(build_encoder(TINY), threads=1).backend == "onnxruntime"
    monkeypatch.setattr(runtime, "_openvino", lambda data, threads: 1 / 0)
    with pytest.warns(RuntimeWarning, match="openvino does not run tiny-32"):
        assert Runner(build_encoder(TINY), threads=2).backend == "onnxruntime"
    assert asked == [["onnxruntime", "torch", "torch-eager"]] * 2


def test_openvino_asked_for_and_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_openvino", lambda: False)
    with pytest.raises(MissingExtraError, match="openvino is not installed"):
        Runner(build_encoder(TINY), backend="openvino")


def test_the_default_is_really_measured(tmp_path: Path) -> None:
    runner, x = Runner(build_encoder("efficientnet_lite(size=64)"), threads=1, cache=tmp_path), _batch(2, 64)
    runner.ready()
    (note,) = tmp_path.glob("*.json")
    seconds = json.loads(note.read_text())["seconds_per_image"]
    assert {"onnxruntime", "torch", "torch-eager"} <= set(seconds)
    assert all(0 < value < 60 for value in seconds.values())
    with torch.no_grad():
        expected = build_encoder("efficientnet_lite(size=64)")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(runner(x), expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("options", [{"backend": "tensorrt"}, {"threads": 0}])
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Runner(build_encoder(TINY), **options)
