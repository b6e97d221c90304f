"""What takes minutes: the demonstration in full, the tutorial as written, kills at random, a wheel in a fresh place."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tapetum.archive import open_archive, verify

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
# Three minutes or more each: run by hand (`python recipes/run.py --check NAME`), not in every integration run, but for
# `odir`, the one that README speaks of.
LONG = {
    "ablation_odir", "brain_tumor", "calibration_odir", "carried_over", "compare_odir", "compare_odir_trained",
    "compare_tvhl_trained", "crossed", "dermamnist", "distil_tvhl_oct", "fairness_odir", "findings_odir",
    "longtail_dermamnist", "ood", "pneumoniamnist", "retinamnist_tuned", "robust_dermamnist", "robust_retinamnist",
    "shift_dr", "shift_dr_tuned", "whole", "whole_elsewhere",
}  # fmt: skip
RECIPES = [name for name in re.findall(r"^<!-- (\w+) -->$", PAGE, flags=re.MULTILINE) if name not in LONG]
SCRIPT = "from tapetum.cli import main; main()"


def tapetum(*words, cwd=None, **options):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=900, **options,
    )  # fmt: skip


def test_demonstration_in_full(tmp_path):
    """The main job: well above chance, the control holds, under 3 GB; a second run measures nothing again."""
    done = tapetum("demo", "--out", tmp_path / "demo", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    numbers = result["numbers"]
    assert numbers["zero_shot_macro_auroc"] > 0.75
    assert numbers["linear_probe_macro_auroc"] > numbers["zero_shot_macro_auroc"]
    assert numbers["negative_control"]["holds"]
    assert numbers["negative_control"]["p_value"] < 0.05
    assert all(Path(place).stat().st_size > 10_000 for place in result["wrote"])
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "PHANTOM" in page
    assert not re.findall(r"""(?:src|href)=["']?https?:""", page)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux
    assert peak < 3 or sys.platform != "linux"
    start = time.monotonic()
    again = tapetum("demo", "--out", tmp_path / "demo", "--json")
    assert json.loads(again.stdout)["numbers"] == numbers
    assert "measured before" in again.stderr
    assert time.monotonic() - start < sum(result["seconds"].values())


def test_tutorial_as_written(tmp_path):
    """Every command of the first hour, the second part on an export with other column names."""
    page = (ROOT / "docs" / "tutorial" / "first-hour.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.S)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("tapetum ")]
    assert len(commands) > 12
    for command in commands:
        if " export " in command and not (tmp_path / "export").exists():
            foreign_export(tmp_path / "clinic", tmp_path / "export")
        words = re.findall(r"""(?:[^\s"]|"[^"]*")+""", command.removeprefix("tapetum "))
        done = tapetum(*(word.replace('"', "") for word in words), cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    assert (tmp_path / "measured" / "report.html").is_file()
    assert len(list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))) == 240 * 2


def foreign_export(clinic: Path, export: Path) -> None:
    """The phantom as another house would export it: other columns, semicolons, no word of the phantom."""
    shutil.copytree(clinic / "images", export / "images")
    with (clinic / "clinic.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (export / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["photo", "pid", "side", "text"])
        writer.writerows([Path(r["file"]).name, r["patient"], r["eye"], r["report"]] for r in rows)


def test_ingest_killed_at_random_ends_in_the_same_archive(tmp_path):
    clinic = tmp_path / "clinic"
    assert tapetum("phantom", "--out", clinic, "patients=60", "size=128").returncode == 0
    start = time.monotonic()
    assert tapetum("ingest", clinic, "--out", tmp_path / "whole.tap", "name=x", "pack=fundus").returncode == 0
    lasted = time.monotonic() - start
    expected = open_archive(tmp_path / "whole.tap").digest
    rng, killed = random.Random(0), 0
    words = ["ingest", str(clinic), "--out", str(tmp_path / "k.tap"), "name=x", "pack=fundus"]
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            child.wait(rng.uniform(0.2, 0.8) * lasted)
            shutil.rmtree(tmp_path / "k.tap")  # it ended; the next one has all to do again
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
    assert killed >= 3
    assert tapetum("ingest", clinic, "--out", tmp_path / "k.tap", "name=x", "pack=fundus").returncode == 0
    assert open_archive(tmp_path / "k.tap").digest == expected
    assert verify(tmp_path / "k.tap") == ()


def test_interrupted_by_the_keyboard_ends_with_130(tmp_path):
    clinic = tmp_path / "clinic"
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "phantom", "--out", str(clinic), "patients=2000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(8)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in err
    assert out == ""
    assert not clinic.exists()


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -c '{SCRIPT}' list findings | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("fundus")
    assert "error" not in done.stderr


def test_smoke_of_the_demonstration():
    done = tapetum("demo", "--smoke", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verb"] == "demo"


@pytest.mark.real
@pytest.mark.parametrize("recipe", RECIPES)
def test_results_page_comes_out_again(recipe, tmp_path):
    """Every main number of docs/reference/results.md is reproduced from the images, within the recipe's tolerance."""
    data = Path(os.environ.get("TAPETUM_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not data.is_dir():
        pytest.skip(f"no {data}: set TAPETUM_DATA")
    env = os.environ | {"TAPETUM_DATA": str(data), "TAPETUM_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, str(ROOT / "recipes" / "run.py"), "--check", recipe]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_holds_what_it_needs(tmp_path):
    """Built without a network from the sources; unpacked elsewhere, it starts and reads its packs."""
    pytest.importorskip("hatchling", reason="hatchling is needed to build a wheel without a network")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    wheel = tmp_path / done.stdout.split()[-1]
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        files.extractall(tmp_path / "site")
    assert "tapetum/py.typed" in names
    assert "tapetum/knowledge/packs/fundus.toml" in names
    assert not [name for name in names if "test" in name.lower().split("/")[0] or name.endswith(".pyc")]
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    script = "import tapetum, sys; assert 'site' in tapetum.__file__, tapetum.__file__; " + SCRIPT
    done = subprocess.run(
        [sys.executable, "-c", script, "list", "findings"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "diabetic_retinopathy" in done.stdout
