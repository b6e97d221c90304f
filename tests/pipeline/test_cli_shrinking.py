"""Distilling and exporting by the command line: from a teacher to a folder that another process runs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tapetum.cli import app
from tapetum.cli.smoke import Workshop

FINDINGS = "findings=normal_fundus,diabetic_retinopathy"
STUDENT = "encoders=tiny(size=32, dim=16)"


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    at = Workshop(tmp_path_factory.mktemp("workshop"))
    at.model()
    return at


def test_a_student_is_exported_and_run_elsewhere(made, tmp_path):
    student, folder = tmp_path / "student", tmp_path / "folder"
    words = ["distil", made.archive(), "--model", made.model(), "--out", student, STUDENT, FINDINGS]
    done = call(*words, "tuning=epochs=2", "--split", "test", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [row["name"] for row in told["table"]["rows"]] == ["teacher", "student"]
    assert (told["table"]["split"], told["table"]["phantom"]) == ("test", True)
    assert told["next"].startswith(f"tapetum onnx {student} --on ")
    done = call("onnx", student, "--out", folder, "--on", made.archive(), "int8=true")
    assert done.exit_code == 0, done.output
    assert "onnxruntime: logits differ by at most" in done.stdout
    assert "| model_int8.onnx |" in done.stdout
    assert "all is well" in call("verify", folder).stdout
    image = made.clinic() / "images" / "000001.jpg"
    ran = subprocess.run(
        [sys.executable, "-I", str(folder / "run.py"), str(image)], capture_output=True, text=True, check=True
    )
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    table = tmp_path / "p.csv"
    assert call("predict", image, "--model", student, "--out", table).exit_code == 0
    for ours, theirs in zip(rows, csv.DictReader(table.read_text().splitlines()), strict=True):
        assert (ours["finding"], ours["decision"]) == (theirs["finding"], theirs["decision"])
        assert float(ours["score"]) == pytest.approx(float(theirs["score"]), abs=1e-4)


def test_plans_and_refusals(made, tmp_path):
    words = ["distil", made.archive(), "--model", made.model(), "--out", tmp_path / "s", STUDENT]
    plan = call(*words, "--dry-run")
    assert plan.exit_code == 0
    assert "training images" in plan.stdout
    assert call(*words, "soft=2").exit_code == 2
    assert call("distil", made.archive(), "--out", tmp_path / "s").exit_code == 2
    assert call("onnx", made.model(), "--out", tmp_path / "x", "int8=true").exit_code == 2
    assert call("onnx", made.archive(), "--out", tmp_path / "x").exit_code == 1
    assert "dry run of onnx" in call("onnx", made.model(), "--out", tmp_path / "x", "--dry-run").stdout
    assert not list(tmp_path.iterdir())
    wrong = call("export", made.model(), "--out", tmp_path / "x")
    assert wrong.exit_code == 2
    assert "tapetum onnx" in wrong.stderr
