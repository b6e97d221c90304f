"""The verbs that make a model smaller and hand it out: distil it into a student, export it to run without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapetum.cli import plans, tells
from tapetum.cli.frame import LogAt, ModelAt, Out, Run, need, verb

SplitOf = Annotated[str, typer.Option("--split", help="The patients that the table is measured on: val or test.")]


@verb("ARCHIVE")
def distil(run: Run, model: ModelAt = None, out: Out = None, split: SplitOf = "val", log: LogAt = None) -> None:
    """Teach a small model what a large one knows; a table of size, speed and AUROC says what it cost."""
    from tapetum.archive import open_archive
    from tapetum.bench.models.smaller import of_model, smaller
    from tapetum.learn import load_model
    from tapetum.learn.distil import DistilConfig, distil

    config, archive, place = run.config(DistilConfig), open_archive(run.path()), need(out, "--out")
    teacher = load_model(need(model, "--model"))
    plans.training(run, archive, config, f"{teacher.encoders} + {config.encoders}", place)
    with run.watching("embedding", place, log) as (progress, watch):
        student = distil(archive, teacher, config, progress=progress, watch=watch)
    student.save(place)
    pair = (("teacher", teacher), ("student", student))
    contenders = [of_model(name, of, student.findings, cache=archive.cache / "onnx") for name, of in pair]
    tells.distilled(run, student, smaller(archive, contenders, student.findings, split=split), place)


@verb("CHECKPOINT")
def onnx(
    run: Run,
    out: Out = None,
    on: Annotated[
        Path | None, typer.Option("--on", help="An archive: its images prove the export, its patients measure int8.")
    ] = None,
    split: SplitOf = "val",
) -> None:
    """Export a checkpoint as a folder that onnxruntime runs, without torch and without Tapetum."""
    from tapetum.archive import open_archive
    from tapetum.bench.models.smaller import judged
    from tapetum.learn import load_model
    from tapetum.learn.exporting.folder import ExportConfig, export_model
    from tapetum.learn.predict import askable

    config, loaded, place = run.config(ExportConfig), load_model(run.path()), need(out, "--out")
    archive = open_archive(on) if on else None
    images = len(archive.records) if archive else 0
    run.plan(out=place, config=config, images=images, mebibytes=2 * plans.towers(loaded.encoders, 0))
    judge = judged(archive, loaded, config.findings or askable(loaded), split=split) if archive else None
    tells.exported(run, export_model(loaded, place, config, archive=archive, judge=judge), place)
