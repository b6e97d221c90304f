"""`tapetum bench all` as a user types it: dry run, a run, the same again, exit codes, JSON."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tapetum.bench.readings import readings
from tapetum.cli import app
from tapetum.cli.smoke import Workshop

TOWERS = ["encoders=tiny()", "text_encoder=tiny()", "draws=20"]
FINDINGS = "findings=normal_fundus,diabetic_retinopathy"
THREE = "all(parts=('detection', 'words', 'longtail'))"


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    at = Workshop(tmp_path_factory.mktemp("workshop"))
    at.archive()
    return at


def test_a_dry_run_says_what_is_asked_and_what_is_not(made, tmp_path):
    done = call("bench", "all", made.archive(), "--dry-run", "--out", tmp_path / "all", *TOWERS)
    assert done.exit_code == 0
    assert "detection: linear_probe" in done.stdout
    assert "shift: needs a second archive" in done.stdout
    assert not (tmp_path / "all").exists()


def test_a_run_and_the_same_again(made, tmp_path):
    from tapetum.archive import open_archive

    words = ["bench", THREE, made.archive(), "--out", tmp_path / "all", *TOWERS, FINDINGS]
    first = call(*words)
    assert first.exit_code == 0, first.output
    assert "1 of 3: Detection" in first.stderr
    assert "PHANTOM: proves mechanisms" in first.stdout
    assert f"wrote {tmp_path / 'all' / 'report.html'}" in first.stdout
    read = readings(open_archive(made.archive()), "test")
    again = call(*words, "--json")
    assert again.exit_code == 0
    told = json.loads(again.stdout)
    assert {p["name"]: p["again"] for p in told["parts"] if p["status"] == "done"} == {"detection": True, "words": True}
    assert readings(open_archive(made.archive()), "test") == read
    assert call("verify", tmp_path / "all").exit_code == 0
    card = call("card", tmp_path / "all" / "model", "--results", tmp_path / "all")
    assert card.exit_code == 0
    assert "linear_probe on clinic" in card.stdout


def test_a_part_without_an_answer_makes_it_partial(made, tmp_path):
    words = ["bench", "all(parts=('detection', 'noise'))", made.archive(), "--out", tmp_path / "all", *TOWERS]
    done = call(*words, "findings=diabetic_retinopathi")
    assert done.exit_code == 3
    assert "FAILED: 'diabetic_retinopathi' is no label" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["all(part=('noise',))"], "'parts'"),
        (["all(parts=('noises',))", "--out", "x"], "'noise'"),
        (["all"], "--out is missing"),
        (["alls"], "unknown name 'alls'"),
    ],
)
def test_wrong_words_are_refused(words, said, made):
    done = call("bench", words[0], made.archive(), *words[1:])
    assert done.exit_code == 2
    assert said in done.stderr
