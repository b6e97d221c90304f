"""`--smoke`: try a verb on a tiny phantom clinic in a temporary folder, with random towers, in seconds."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from tapetum.cli.frame import note

_TOWERS = ["encoders=tiny()", "text_encoder=tiny()"]
_PATIENTS = 24
_SIZE = 64
_FINDINGS = "findings=normal_fundus,diabetic_retinopathy"


class Workshop:
    """A temporary folder with what a verb needs, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clinic(self) -> Path:
        """A clinic with a column that tells the truth."""
        from tapetum.bench.demo import add_truth
        from tapetum.phantom import ClinicConfig, make_clinic

        place = self.folder / "clinic"
        if not place.exists():
            make_clinic(place, ClinicConfig(patients=_PATIENTS, size=_SIZE))
            add_truth(place)
        return place

    def archive(self) -> Path:
        """The clinic ingested."""
        from tapetum.archive import IngestConfig, ingest
        from tapetum.bench.demo import LABELLED

        place = self.folder / "clinic.tap"
        if not place.exists():
            ingest([self.clinic()], place, IngestConfig(labels="truth", pack="fundus", table=LABELLED))
        return place

    def hidden(self) -> list[str]:
        """The clinic under pseudonyms: archive, a pseudonym, `--key`, key."""
        from tapetum.archive import IngestConfig, ingest, open_archive

        place, key = self.folder / "hidden.tap", self.folder / "hidden.key"
        if not place.exists():
            ingest([self.clinic()], place, IngestConfig(pack="fundus", table="clinic.csv", key=str(key)))
        return [str(place), open_archive(place).records[0].patient_id, "--key", str(key)]

    def model(self) -> Path:
        """A model trained on it."""
        from tapetum.archive import open_archive
        from tapetum.learn import PretrainConfig, pretrain

        place = self.folder / "model"
        if not place.exists():
            settings = PretrainConfig(encoders="tiny()", text_encoder="tiny()")
            pretrain(open_archive(self.archive()), settings).save(place)
        return place

    def checkpoint(self) -> Path:
        """A pickled checkpoint as others publish them."""
        import torch

        place = self.folder / "weights.pth"
        torch.save({"model": {"weight": torch.zeros(2, 3)}, "epoch": 1}, place)
        return place


def _commands(at: Workshop) -> Mapping[str, Callable[[], list[str]]]:
    """The command line of each verb, its inputs made on the way."""
    out = str(at.folder / "out")
    return {
        "phantom": lambda: ["--out", out, "patients=3", f"size={_SIZE}"],
        "ingest": lambda: [str(at.clinic()), "--out", out, "--labels", "truth", "pack=fundus", "table=labelled.csv"],
        "audit": lambda: [str(at.archive())],
        "embed": lambda: [str(at.archive()), "--out", out, _TOWERS[0]],
        "pretrain": lambda: [str(at.archive()), "--out", out, *_TOWERS],
        "adapt": lambda: [str(at.archive()), "--out", out, _TOWERS[0], _FINDINGS],
        "predict": lambda: [str(at.clinic() / "images"), "--model", str(at.model()), "--out", f"{out}.csv", _FINDINGS],
        "abstain": lambda: [
            *(str(at.archive()), "--model", str(at.model()), "--out", out, "score=knn(k=2)", _FINDINGS),
        ],
        "bench": lambda: [
            "zero_shot(shuffles=2, unseen=False, compare=())",
            str(at.archive()),
            *_TOWERS,
            _FINDINGS,
            "draws=50",
        ],
        "compare": lambda: [
            str(at.archive()),
            "--encoders",
            "tiny(), tiny(seed=1)",
            "--shots",
            "2, all",
            "text_encoder=tiny()",
            "runs=2",
            "draws=50",
            _FINDINGS,
        ],
        "distil": lambda: [
            *(str(at.archive()), "--model", str(at.model()), "--out", out, "encoders=tiny(size=32, dim=16)"),
            *(_FINDINGS, "tuning=epochs=2"),
        ],
        "onnx": lambda: [str(at.model()), "--out", out, "--on", str(at.archive()), _FINDINGS, "int8=true"],
        "search": lambda: [str(at.archive()), "--model", str(at.model()), "--text", "drusen", "-k", "3"],
        "card": lambda: [str(at.model())],
        "verify": lambda: [str(at.archive())],
        "convert": lambda: [str(at.checkpoint()), "--out", out],
        "gc": lambda: [str(at.archive())],
        "export": lambda: [str(at.archive()), "--out", out],
        "forget": lambda: [str(at.archive()), "P0001"],
        "reidentify": lambda: [*at.hidden(), "--role", "data manager", "--reason", "smoke"],
        "rekey": lambda: [*at.hidden()[:1], *at.hidden()[2:], "--new-key", f"{out}.key"],
        "demo": lambda: ["--out", out, f"patients={_PATIENTS}", f"size={_SIZE}", *_TOWERS, "shuffles=2", "draws=50"],
        "list": list,
        "doctor": list,
    }


def smoke(verb: str, *, as_json: bool, debug: bool) -> None:
    """Run the verb as if its command line had been typed; its exit code becomes this one's."""
    from tapetum.cli.verbs import app

    told = io.StringIO()
    flags = [flag for flag, on in (("--json", as_json), ("--debug", debug)) if on]
    with tempfile.TemporaryDirectory(prefix="tapetum-smoke-") as folder:
        words = [verb, *_commands(Workshop(Path(folder)))[verb]()]
        note("smoke test, nothing is kept: tapetum " + " ".join(words).replace(folder, "TEMPORARY"))
        command = typer.main.get_command(app)
        with contextlib.redirect_stdout(told):
            code = command.main([*words, *flags], standalone_mode=False)
        typer.echo(told.getvalue().replace(folder, "TEMPORARY"), nl=False)
    if code:
        raise typer.Exit(code)
