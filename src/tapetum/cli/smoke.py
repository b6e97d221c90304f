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

    def model(self) -> Path:
        """A model trained on it."""
        from tapetum.archive import open_archive
        from tapetum.learn import PretrainConfig, pretrain

        place = self.folder / "model"
        if not place.exists():
            settings = PretrainConfig(encoders="tiny()", text_encoder="tiny()")
            pretrain(open_archive(self.archive()), settings).save(place)
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
        "bench": lambda: [
            "zero_shot(shuffles=2, unseen=False, compare=())",
            str(at.archive()),
            *_TOWERS,
            _FINDINGS,
            "draws=50",
        ],
        "search": lambda: [str(at.archive()), "--model", str(at.model()), "--text", "drusen", "-k", "3"],
        "card": lambda: [str(at.model())],
        "verify": lambda: [str(at.archive())],
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
