"""A training and its card through the verbs: run page, logs, measured results, refusals."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from tapetum.cli import app
from tapetum.cli.smoke import Workshop

FINDINGS = "findings=normal_fundus,diabetic_retinopathy"
TUNED = ("encoders=tiny()", FINDINGS, "tuner=full", "tuning=epochs=2, batch=8, patience=0")


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    made.model()
    return made


def test_a_tuned_model_leaves_a_page_and_its_log_where_it_is_asked_for(at, tmp_path):
    done = call("adapt", at.archive(), "--out", tmp_path / "model", *TUNED, "log=csv", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    run = tmp_path / "model_run"
    assert told["wrote"] == [str(tmp_path / "model"), str(run)]
    names = ["run.html", "run.json", "tuning_with_full.csv", "tuning_with_full_epochs.csv"]
    assert sorted(f.name for f in run.iterdir()) == names
    page, known = (run / "run.html").read_text(), json.loads((run / "run.json").read_text())
    assert "PHANTOM" in page
    assert known["phantom"]
    assert known["model"] == told["digest"]
    assert known["seconds"] > 0
    with (run / names[3]).open(newline="") as stream:
        epochs = list(csv.DictReader(stream))
    assert [float(e["held_out_loss"]) for e in epochs] == known["stages"][0]["held"] == told["log"]["held_loss"]
    assert call("verify", tmp_path / "model").exit_code == 0, "the page lies beside the checkpoint, not in it"


def test_a_closed_form_leaves_no_page(at, tmp_path):
    done = call("pretrain", at.archive(), "--out", tmp_path / "model", "encoders=tiny()", "text_encoder=tiny()")
    assert done.exit_code == 0
    assert not (tmp_path / "model_run").exists()


def test_wrong_logs_are_refused_before_anything_is_done(at, tmp_path):
    words = ("adapt", at.archive(), "--out", tmp_path / "model", *TUNED)
    unknown = call(*words, "log=wandb")
    assert unknown.exit_code == 2
    assert "csv | tensorboard" in unknown.stderr
    alone = call(*words, "--log", tmp_path / "log")
    assert alone.exit_code == 2
    assert f"log=csv --log {tmp_path / 'log'}" in alone.stderr
    assert call("embed", at.archive(), "log=csv").exit_code == 2
    assert call("embed", at.archive(), "engine=spark").exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_card_holds_what_was_measured_of_this_checkpoint_alone(at, tmp_path):
    results, other = tmp_path / "bench", tmp_path / "other"
    quick = "zero_shot(shuffles=0, unseen=False, compare=())"
    assert (
        call("bench", quick, at.archive(), "--model", at.model(), "--out", results, FINDINGS, "draws=20").exit_code == 0
    )
    bare = json.loads(call("card", at.model(), "--json").stdout)
    assert not bare["measured"]
    assert "Not measured" in bare["card"]
    assert bare["next"].endswith("then --results DIR")
    full = json.loads(call("card", at.model(), "--results", results, "--out", tmp_path / "card.md", "--json").stdout)
    assert full["measured"]
    assert full["wrote"] == [str(tmp_path / "card.md")]
    assert (tmp_path / "card.md").read_text() == full["card"]
    lines = (results / "records.jsonl").read_text().splitlines()
    auroc = next(r for r in map(json.loads, lines) if (r["finding"], r["metric"]) == ("macro", "auroc_score"))
    assert f"{auroc['interval']['estimate']:.3f} [" in full["card"]
    assert "patients learned from: unknown" not in full["card"]
    assert call("card", at.model(), "--results", results, "--out", tmp_path / "card.html").exit_code == 0
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")
    assert call("adapt", at.archive(), "--out", other, "encoders=tiny()", FINDINGS).exit_code == 0
    refused = call("card", other, "--results", results)
    assert refused.exit_code == 1
    assert "results of this very checkpoint" in refused.stderr
