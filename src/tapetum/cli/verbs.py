"""The verbs, in the order of the data's way; each is a few lines over one library function."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tapetum.cli import keeping, plans, shrinking, tells, whole
from tapetum.cli.frame import LogAt, ModelAt, Out, Run, VerbCommand, Verbs, need, note, until_done, verb
from tapetum.cli.settings import EmbedSettings, PredictSettings, SearchSettings

HELP = """From a clinic's images and reports to a vision-language model that anyone can check, offline.

tapetum VERB INPUT… --out PLACE \\[recipe.toml] \\[key=value …]

Research and second-reader support, not a cleared device."""

app = typer.Typer(
    cls=Verbs, help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        from tapetum.core.store import package_version

        typer.echo(package_version())
        raise typer.Exit(0)


@app.command(cls=VerbCommand)
@verb("", 0, 0)
def phantom(run: Run, out: Out = None) -> None:
    """Make a phantom clinic: drawn retinas, reports, and the truth about both."""
    from tapetum.phantom import ClinicConfig, make_clinic

    config, place = run.config(ClinicConfig), need(out, "--out")
    run.plan(out=place, config=config, images=2 * config.patients * config.visits, mebibytes=200)
    clinic = make_clinic(place, config)
    told = f"{clinic.images} images of {clinic.patients} patients who do not exist"
    run.tell(
        told, {"images": clinic.images, "patients": clinic.patients}, wrote=[place],
        then=f"tapetum ingest {place} --out {place}.tap pack=fundus",
    )  # fmt: skip


@app.command(cls=VerbCommand)
@verb("SRC…", 1, None)
def ingest(
    run: Run,
    out: Out = None,
    columns: Annotated[str, typer.Option("--map", help="Columns by role: patient=pid,image=file,eye=side.")] = "",
    labels: Annotated[str, typer.Option("--labels", help="The column with labels.")] = "",
    dataset: Annotated[str, typer.Option("--dataset", help="Read the source as this public set.")] = "",
) -> None:
    """Turn a clinic's export into an archive; what cannot be taken is quarantined with its reason."""
    from tapetum.archive import IngestConfig, ingest

    config = run.config(IngestConfig, f"map={columns}", f"labels={labels}", f"dataset={dataset}")
    place = need(out, "--out")
    plans.ingest(run, config, place)
    with run.progress("reading") as progress:
        summary = ingest(run.inputs, place, config, progress=progress)
    tells.ingest(run, summary, place)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def audit(
    run: Run,
    out: Out = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Written by `tapetum embed`; confirms near duplicates.")
    ] = None,
) -> None:
    """Look for what would make a later number wrong: leakage, duplicates, rare labels."""
    from tapetum.archive import audit, open_archive

    archive = open_archive(run.path())
    run.plan(out=out, images=len(archive.records), mebibytes=200)
    report = audit(archive, tells.embeddings_at(embeddings))
    tells.audit(run, report, out)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def embed(run: Run, out: Out = None) -> None:
    """Compute the features of every image once; later verbs read them from the archive's cache."""
    from tapetum.archive import open_archive

    archive = open_archive(run.path())
    compute = plans.embedding(run, archive, run.config(EmbedSettings), out)
    with run.progress("embedding") as progress:
        found = compute(progress=progress)
    tells.embed(run, found, archive, out)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def pretrain(run: Run, out: Out = None, log: LogAt = None) -> None:
    """Learn from the reports of the training patients what the images show; no labels are read for it."""
    from tapetum.archive import open_archive
    from tapetum.learn import PretrainConfig, pretrain

    config, archive, place = run.config(PretrainConfig), open_archive(run.path()), need(out, "--out")
    plans.training(run, archive, config, config.encoders, place)
    with run.watching("embedding", place, log) as (progress, watch), until_done(place) as saving:
        model = pretrain(archive, config, progress=progress, watch=watch, saving=saving)
        model.save(place)
    then = f"tapetum bench zero_shot {run.path()} --model {place} --out {place}_bench"
    tells.model(run, model, place, then=then, phantom=archive.phantom)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def adapt(run: Run, model: ModelAt = None, out: Out = None, log: LogAt = None) -> None:
    """Fit an adapter on labels, few or all, over frozen features."""
    from tapetum.archive import open_archive
    from tapetum.learn import AdaptConfig, adapt, load_model

    config, archive, place = run.config(AdaptConfig), open_archive(run.path()), need(out, "--out")
    base = load_model(model) if model else None
    plans.training(run, archive, config, base.encoders if base else config.encoders, place)
    with run.watching("embedding", place, log) as (progress, watch), until_done(place) as saving:
        fitted = adapt(archive, config, model=base, progress=progress, watch=watch, saving=saving)
        fitted.save(place)
    then = f"tapetum predict {run.path()} --model {place} --out predictions.csv"
    tells.model(run, fitted, place, then=then, phantom=archive.phantom)


@app.command(cls=VerbCommand)
@verb("IMAGES… | ARCHIVE", 1, None)
def predict(run: Run, model: ModelAt = None, out: Out = None) -> None:
    """Score images with a model: one row per image and finding, as CSV or as an artefact folder."""
    from tapetum.learn import load_model

    config, loaded, place = run.config(PredictSettings), load_model(need(model, "--model")), need(out, "--out")
    source = tells.archive_or_files(run.inputs)
    run.plan(out=place, config=config, images=len(source), mebibytes=plans.towers(loaded.encoders, len(source)))
    with run.progress("predicting") as progress:
        predictions, refused, parents = source.predict(loaded, config, progress)
    tells.predictions(run, predictions, refused, parents, place)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def abstain(run: Run, model: ModelAt = None, out: Out = None) -> None:
    """Fit a gate for a model: which images and answers `predict` leaves to a person. Needs no OOD image."""
    from tapetum.archive import open_archive
    from tapetum.learn import load_model
    from tapetum.learn.gate import GateConfig, fit_gate

    config, archive, place = run.config(GateConfig), open_archive(run.path()), need(out, "--out")
    loaded = load_model(need(model, "--model"))
    plans.training(run, archive, config, loaded.encoders, place)
    with run.progress("embedding") as progress:
        made = fit_gate(archive, loaded, config, progress=progress)
        made.save(place)
    tells.gate(run, made, place)


@app.command(cls=VerbCommand)
@verb("PROTOCOL ARCHIVE", 2, 2)
def bench(
    run: Run,
    model: ModelAt = None,
    test: Annotated[Path | None, typer.Option(help="Another archive to test on; nothing is fitted on it.")] = None,
    out: Out = None,
) -> None:
    """Put a model or a method to the test: a table with intervals, Records, one HTML page.

    PROTOCOL is a member of bench.protocols, or all: every family of questions in one run, with one page, a model card
    and draft checklists; run again, the same command goes on where it was. all(parts=('noise', 'ood')) asks only these.
    """
    from tapetum.archive import open_archive
    from tapetum.bench import BenchConfig, run_bench
    from tapetum.learn import load_model

    config, archive = run.config(BenchConfig), open_archive(run.path(1))
    loaded, other = load_model(model) if model else None, open_archive(test) if test else None
    if whole.is_whole(run.inputs[0]):
        whole.bench_all(run, archive, config, other, loaded, out)
        return
    plans.training(run, archive, config, loaded.encoders if loaded else config.encoders, out, other)
    with run.progress("embedding") as progress:
        results = run_bench(run.inputs[0], archive, config, test=other, model=loaded, progress=progress)
    tells.results(run, results, out)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def compare(
    run: Run,
    encoders: Annotated[str, typer.Option("--encoders", help="Towers, separated by commas.")] = "",
    modes: Annotated[str, typer.Option("--modes", help="zero_shot, adapters and tuners, separated by commas.")] = "",
    shots: Annotated[str, typer.Option("--shots", help="Labels per finding, for example 1,5,10,all.")] = "",
    test: Annotated[Path | None, typer.Option(help="Another archive to test on; nothing is fitted on it.")] = None,
    out: Out = None,
) -> None:
    """Encoders against encoders, and ways to use them: one table with intervals, paired tests and prices."""
    from tapetum.archive import open_archive
    from tapetum.bench.comparison import CompareConfig, cells_of, compare

    asked = (("encoders", encoders), ("modes", modes), ("shots", shots))
    config = run.config(CompareConfig, *(f"{name}={value}" for name, value in asked if value))
    archive, other = open_archive(run.path()), open_archive(test) if test else None
    plans.comparison(run, archive, config, cells_of(config), out, other)
    with run.progress("embedding") as progress:
        found = compare(archive, config, test=other, progress=progress, say=note)
    tells.comparison(run, found, out)


for _shrinking in (shrinking.distil, shrinking.onnx):
    app.command(cls=VerbCommand)(_shrinking)


@app.command(cls=VerbCommand)
@verb("ARCHIVE")
def search(
    run: Run,
    model: ModelAt = None,
    text: Annotated[str, typer.Option(help="Words to look for.")] = "",
    image: Annotated[Path | None, typer.Option(help="An image file to find the like of.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many images.")] = 10,
) -> None:
    """Find the images of an archive that fit some words, or are like an image."""
    from tapetum.archive import open_archive
    from tapetum.learn import load_model
    from tapetum.retrieve.search import search

    archive, loaded = open_archive(run.path()), load_model(need(model, "--model"))
    config = run.config(SearchSettings)
    run.plan(config=config, images=len(archive.records), mebibytes=plans.towers(loaded.encoders, len(archive.records)))
    with run.progress("embedding") as progress:
        hits = search(archive, loaded, text=text, image=image, k=k, threads=config.threads, progress=progress)
    tells.hits(run, hits)


@app.command(cls=VerbCommand)
@verb("CHECKPOINT")
def card(
    run: Run,
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="A folder that `tapetum bench --out` wrote; may be repeated.")
    ] = None,
    out: Out = None,
) -> None:
    """Write a checkpoint's model card: quality only as bench runs of this very checkpoint measured it."""
    from tapetum.bench.pages.card import model_card
    from tapetum.core.store import read_meta
    from tapetum.learn import load_model

    meta = read_meta(run.path(), "checkpoint")
    run.plan(reads=", ".join(map(str, (run.path(), *(results or ())))), out=out)
    tells.card(run, model_card(load_model(run.path()), results or ()), meta, out)


@app.command(cls=VerbCommand)
@verb("ARTEFACT")
def verify(run: Run) -> None:
    """Read an archive or another artefact back and say what is damaged."""
    run.plan(reads=str(run.path()))
    damaged = tells.damage(run.path())
    run.tell("\n".join(damaged) or f"{run.path()}: all is well", {"damaged": list(damaged)})
    if damaged:
        raise typer.Exit(1)


@app.command(cls=VerbCommand)
@verb("FILE")
def convert(
    run: Run,
    inside: Annotated[str, typer.Option("--inside", help="Which nested dictionary holds the network, dotted.")] = "",
    out: Out = None,
) -> None:
    """Turn somebody's .pt or .pth checkpoint into safetensors; it is opened in a child that can do nothing else."""
    from tapetum.learn.convert import convert

    place = need(out, "--out")
    run.plan(reads=str(run.path()), out=place)
    done = convert(run.path(), place, key=inside)
    run.tell(str(done), dataclasses.asdict(done), wrote=[place], then="tapetum list nets.encoders")


for _keeping in (keeping.gc, keeping.export, keeping.forget, keeping.reidentify, keeping.rekey):
    app.command(cls=VerbCommand)(_keeping)


@app.command(cls=VerbCommand)
@verb("", 0, 0)
def demo(run: Run, out: Out = None) -> None:
    """The whole way on the embedded phantom clinic, from images and reports to a page with results."""
    from tapetum.bench.demo import DemoConfig, run_demo

    config, place = run.config(DemoConfig), need(out, "--out")
    run.plan(out=place, config=config, images=2 * config.patients, mebibytes=plans.DEMO_MIB)
    with run.progress("embedding") as progress:
        found = run_demo(place, config, say=note, progress=progress)
    tells.demo(run, found)


@app.command(name="list", cls=VerbCommand)
@verb("[FAMILY | METHOD | packs | findings]", 0, 2)
def list_(run: Run) -> None:
    """List families and their methods with options, domain packs and findings."""
    from tapetum.cli.listing import listing

    run.plan(reads="the package itself")
    text, result = listing(run.inputs)
    run.tell(text, result)


@app.command(cls=VerbCommand)
@verb("", 0, 0)
def doctor(run: Run) -> None:
    """Check that this machine has what Tapetum needs, and say what to do where it has not."""
    from tapetum.cli.doctor import examine, table

    run.plan(reads="this machine")
    checks = examine()
    run.tell(table(checks), {"checks": [dataclasses.asdict(check) for check in checks]})
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)
