"""An exported folder: equal numbers, also without this package; refusals by name."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import Family
from tapetum.core.store import read_meta
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt, predict_files
from tapetum.learn.exporting import folder as folder_module
from tapetum.learn.exporting import run as standalone
from tapetum.learn.exporting.folder import ExportConfig, export_model, labels_of
from tapetum.learn.exporting.int8 import quantised
from tapetum.learn.exporting.network import Calibration, LinearHead, Network
from tapetum.learn.exporting.parity import Reference, compared, in_batches, with_onnxruntime
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.fitting.operate import choose_operating
from toys import ENCODER

ONE = ExportConfig(threads=1)
LINEAR = (
    "linear_probe", "logistic", "lda", "prototypes", "zero_shot", "zs_lp", "clap", "task_res", "lp_plus_plus",
    "cross_modal",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(toy_archive, toy_embeddings):
    return adapt(toy_archive, AdaptConfig("logistic", ENCODER, threads=1), embeddings=toy_embeddings)


@pytest.fixture(scope="module")
def exported(toy_archive, model, tmp_path_factory):
    place = tmp_path_factory.mktemp("export") / "x"
    config = dataclasses.replace(ONE, int8=True, calibration_images=16)
    return place, export_model(model, place, config, archive=toy_archive)


def _test_images(archive, count=8):
    return [archive.pixels(r.image_id, min_side=512) for r in archive.in_split(Split.TEST)[:count]]


def test_what_lies_in_the_folder(exported, model, toy_archive):
    place, done = exported
    assert sorted(p.name for p in place.iterdir()) == [
        "README.md", "labels.json", "meta.json", "model.onnx", "model_int8.onnx", "parity.json", "preprocessing.json",
        "run.py",
    ]  # fmt: skip
    meta = read_meta(place, "export")
    assert meta.parents == {"archive": toy_archive.digest, "model": model.digest}
    assert done.parity["onnxruntime"].holds
    told = json.loads((place / "parity.json").read_text())["onnxruntime"]
    assert (told["source"], told["images"], told["decisions"]) == ("archive", 16, 0)
    assert told["logits_relative"] < 1e-5
    readme = (place / "README.md").read_text()
    assert "Not a cleared device" in readme
    assert model.digest in readme
    labels = json.loads((place / "labels.json").read_text())
    assert [f["id"] for f in labels["findings"]] == list(model.findings)
    assert model.operating is not None
    np.testing.assert_allclose([f["threshold"] for f in labels["findings"]], model.operating.thresholds)


def _files(folder: Path) -> list[Path]:
    """Images of every kind that is read: turned, transparent, grey, palette, not square, larger than is decoded."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    smooth = np.kron(rng.integers(0, 256, (9, 12, 3)), np.ones((100, 100, 1))).astype(np.uint8)
    image = Image.fromarray(smooth)
    image.save(folder / "large.jpg", quality=92)
    turned = image.getexif()
    turned[274] = 6
    image.save(folder / "turned.jpg", exif=turned, quality=92)
    image.resize((90, 70)).save(folder / "small.png")
    image.convert("L").save(folder / "grey.png")
    image.resize((600, 800)).convert("P").save(folder / "palette.png")
    image.convert("RGBA").rotate(20).save(folder / "clear.png")
    image.resize((640, 500)).save(folder / "plain.tif")
    return sorted(folder.iterdir())


def test_the_twenty_lines_of_the_page_say_what_predict_says(exported, model, tmp_path):
    """The last Python block of the page, as written, in a process that can import neither Tapetum nor torch."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "distil-and-export.md").read_text(encoding="utf-8")
    block = page.rpartition("```python\n")[2].partition("```")[0]
    assert len([line for line in block.splitlines() if line and not line.startswith(("import", "from"))]) <= 20
    shutil.copytree(exported[0], tmp_path / "student_onnx")
    (tmp_path / "clinic").mkdir()
    files = _files(tmp_path / "clinic" / "images")
    for name in ("large.jpg", "turned.jpg"):
        image = tmp_path / "clinic" / "images" / "000001.jpg"
        shutil.copy(next(f for f in files if f.name == name), image)
        blocked = "import sys; sys.modules['tapetum'] = sys.modules['torch'] = None\n"
        command = [sys.executable, "-I", "-c", blocked + block]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said = [line.split() for line in done.stdout.splitlines()]
        expected, _ = predict_files([image], model)
        assert [words[0] for words in said] == list(model.findings)
        np.testing.assert_allclose([float(w[1]) for w in said], expected.logits[0], atol=1e-4)
        np.testing.assert_allclose([float(w[2]) for w in said], expected.probs[0], atol=1e-5)
        np.testing.assert_allclose([float(w[3]) for w in said], expected.thresholds)


@pytest.mark.parametrize("encoders", [ENCODER, f"{ENCODER} + tiny(size=16, dim=4)"])
def test_a_process_without_this_package_says_what_predict_says(encoders, toy_archive, tmp_path):
    model = adapt(toy_archive, AdaptConfig("linear_probe", encoders, threads=1))
    place = tmp_path / "x"
    export_model(model, place, ONE)
    files = _files(tmp_path / "images")
    blocked = "import sys; sys.modules['tapetum'] = sys.modules['torch'] = None; "
    words = f"sys.argv[0] = {str(place / 'run.py')!r}; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-I", "-c", blocked + words, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Not a cleared device" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    expected, _ = predict_files(files, model)
    shape = expected.logits.shape
    assert len(rows) == expected.logits.size
    np.testing.assert_allclose(np.array([float(r["score"]) for r in rows]).reshape(shape), expected.logits, atol=1e-4)
    np.testing.assert_allclose(
        np.array([float(r["probability"]) for r in rows]).reshape(shape), expected.probs, atol=1e-5
    )
    decided = np.where(expected.probs >= expected.thresholds, "present", "absent")
    assert [r["decision"] for r in rows] == decided.ravel().tolist()


def test_preprocessing_is_the_same_in_both_places():
    """The default towers look at local contrast besides; here its arithmetic alone, on a stand-in with that view."""
    tower = {
        "fit": "pad",
        "size": 64,
        "resample": "bicubic",
        "view": "local_contrast",
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
    }

    prepare = Preprocess(64, (0.5,) * 3, (0.2,) * 3, "pad", "bicubic", "local_contrast")
    image = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    np.testing.assert_array_equal(standalone.normalised(image, tower), prepare(image))
    crop = {**tower, "fit": "crop", "view": "plain"}
    other = Preprocess(64, (0.5,) * 3, (0.2,) * 3, "crop", "bicubic", "plain")
    np.testing.assert_array_equal(standalone.normalised(image, crop), other(image))


def test_int8_is_smaller_work_close_and_keeps_the_head(exported, toy_archive):
    place, _ = exported
    images = _test_images(toy_archive)
    plain, small = (standalone.Exported(place, file=name, threads=1) for name in ("model.onnx", "model_int8.onnx"))
    a, b = plain(images)[0], small(images)[0]
    assert not np.array_equal(a, b)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98
    import onnx

    nodes = onnx.load(str(place / "model_int8.onnx")).graph.node
    kinds = [n.op_type for n in nodes]
    assert kinds.count("QuantizeLinear") >= 3
    fed = {name: n for n in nodes for name in n.output}
    heads = [n for n in nodes if n.op_type in ("MatMul", "Gemm") and not n.name.startswith("/towers")]
    assert heads
    assert all(fed[i].op_type != "DequantizeLinear" for n in heads for i in n.input if i in fed)


def test_int8_looks_at_its_images_only(toy_archive, model):
    """Other calibration images, other ranges; the same ones, the same file."""
    embedder = Embedder(model.encoders, threads=1, backend="torch-eager")
    network = Network(model, model.findings, embedder).eval()
    data = folder_module._traced(network, embedder)
    inputs = folder_module.inputs_of(embedder, _test_images(toy_archive, 4))
    half = {name: values * 0.1 for name, values in inputs.items()}
    first, again, other = (
        in_batches(with_onnxruntime(quantised(data, chosen), threads=1), inputs)["logits"]
        for chosen in (inputs, inputs, half)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("adapter", LINEAR)
def test_linear_adapters(adapter, toy_archive, toy_embeddings, toy_model, tmp_path):
    fitted = adapt(
        toy_archive, AdaptConfig(adapter, ENCODER, threads=1), model=toy_model, embeddings=toy_embeddings
    )  # fmt: skip
    embedder = Embedder(fitted.encoders, threads=1, backend="torch-eager")
    network = Network(fitted, fitted.findings, embedder).eval()
    images = _test_images(toy_archive)
    reference = Reference.of(fitted, embedder, fitted.findings, images, "archive")
    with torch.no_grad():
        found = network(torch.from_numpy(folder_module.inputs_of(embedder, images)["tower_0"]))
    outputs = dict(zip(("logits", "probabilities", "features"), (f.numpy() for f in found), strict=True))
    assert compared("torch", outputs, reference).logits_relative < 1e-5


def test_every_other_adapter_is_refused_by_name(toy_archive, toy_embeddings, toy_model, tmp_path):
    others = sorted(set(Family("tapetum.learn.adapters").names()) - set(LINEAR))
    assert others
    for adapter in others:
        config = AdaptConfig(adapter, ENCODER, threads=1)
        fitted = adapt(toy_archive, config, model=toy_model, embeddings=toy_embeddings)
        with pytest.raises(UsageError, match=f"{adapter} is no linear map") as refused:
            export_model(fitted, tmp_path / adapter, ONE)
        assert "tapetum distil" in refused.value.next_step
        assert not (tmp_path / adapter).exists()


def test_words_become_fixed_vectors(toy_model, tmp_path):
    done = export_model(toy_model, tmp_path / "x", dataclasses.replace(ONE, findings=("glaucoma", "drusen")))
    assert done.findings == ("glaucoma", "drusen")
    assert done.parity["onnxruntime"].source == "noise"
    labels = labels_of(toy_model, ("glaucoma", "drusen"))["findings"]
    assert labels[0]["threshold"] is not None
    assert labels[1]["threshold"] is None  # never calibrated: its probability is NaN, not a guess
    ours = standalone.Exported(tmp_path / "x", threads=1)
    _, probs = ours([np.zeros((40, 40, 3), np.uint8)])
    assert np.isfinite(probs[0, 0])
    assert np.isnan(probs[0, 1])
    assert standalone.table(ours, []) == []


@pytest.mark.parametrize("calibrator", ["platt", "temperature", "isotonic"])
def test_calibration_by_the_family(calibrator):
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 3)) < 0.4).astype(float)
    logits = truth * 2 + rng.normal(size=truth.shape)
    truth[:, 2] = np.nan  # never calibrated
    names = ("a", "b", "c")
    operating = choose_operating(names, logits, truth, calibrator=calibrator, sensitivity=0.9, truth="labels")
    assert operating is not None
    asked = ("c", "b", "a")
    there = rng.normal(scale=3, size=(50, 3)).astype(np.float32)
    expected = operating.probabilities(asked, there.astype(np.float64))
    with torch.no_grad():
        found = Calibration(operating, asked)(torch.from_numpy(there)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 if calibrator == "isotonic" else 1e-6)
    assert np.isnan(found[:, 0]).all()
    assert np.isnan(Calibration(None, asked)(torch.from_numpy(there)).numpy()).all()


def test_other_calibrations_are_refused(model):
    assert model.operating is not None
    soft = dataclasses.replace(
        model.operating, calibrator="temperature(mode='softmax')", state={"temperatures": np.ones(4)}
    )
    with pytest.raises(UsageError, match="softmax"):
        Calibration(soft, model.findings)


def test_linear_head_by_hand():
    """sroot(−4) = −2, sroot(9) = 3; (−2 − 1)/1 · 2 + (3 − 1)/2 · 1 + 0.5 = −4.5."""
    head = LinearHead(np.array([[2.0], [1.0]]), np.array([0.5]), np.array([1.0, 1.0]), np.array([1.0, 2.0]), 0.5)
    assert float(head(torch.tensor([[-4.0, 9.0]]))) == pytest.approx(-4.5, abs=1e-6)


def test_a_network_that_says_other_things_is_refused_and_nothing_is_written(model, tmp_path, monkeypatch):
    real = folder_module.with_onnxruntime

    def off(data, *, threads=0):
        run = real(data, threads=threads)
        return lambda inputs: {k: v + 0.1 for k, v in run(inputs).items()}

    monkeypatch.setattr(folder_module, "with_onnxruntime", off)
    with pytest.raises(ArtefactError, match="other numbers than torch"):
        export_model(model, tmp_path / "x", ONE)
    assert not (tmp_path / "x").exists()


def test_parity_by_hand():
    reference = Reference(
        "noise", np.array([[10.0, -1.0]]), np.array([[0.5, np.nan]]), np.ones((1, 2), np.float32), np.array([0.5, 0.5])
    )
    same = {"logits": np.array([[10.0, -1.0]]), "probabilities": np.array([[0.5, np.nan]]), "features": np.ones((1, 2))}
    assert compared("x", same, reference).holds
    off = compared(
        "x", {**same, "logits": np.array([[10.0, -1.2]]), "probabilities": np.array([[0.4, np.nan]])}, reference
    )
    assert (off.logits, off.decisions) == (pytest.approx(0.2), 1)
    assert off.logits_relative == pytest.approx(0.02)
    assert off.probabilities == pytest.approx(0.1)
    assert not off.holds
    assert not compared("x", {**same, "probabilities": np.array([[0.5, 0.5]])}, reference).holds
    assert not compared("x", {**same, "logits": np.array([[np.nan, -1.0]])}, reference).holds
    turned = compared("x", {**same, "features": np.array([[1.0, 0.0]])}, reference)
    assert turned.cosine == pytest.approx(np.sqrt(0.5))
    assert not turned.holds


def test_refusals(model, toy_archive, tmp_path):
    with pytest.raises(UsageError, match="int8 without training images"):
        export_model(model, tmp_path / "x", dataclasses.replace(ONE, int8=True))
    with pytest.raises(UsageError, match="calibration_images=0"):
        export_model(
            model, tmp_path / "x", dataclasses.replace(ONE, int8=True, calibration_images=0), archive=toy_archive
        )
    with pytest.raises(UsageError, match="not taught 'glaucom'"):
        export_model(model, tmp_path / "x", dataclasses.replace(ONE, findings=("glaucom",)))
    (tmp_path / "photographs").mkdir()
    shutil.copy(__file__, tmp_path / "photographs")
    with pytest.raises(ArtefactError, match="no artefact"):
        export_model(model, tmp_path / "photographs", ONE)


def test_sixteen_bits_are_refused_not_guessed(exported, tmp_path):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="8 bits per sample"):
        standalone.Exported(exported[0], threads=1).read(tmp_path / "deep.png")
