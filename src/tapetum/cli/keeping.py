"""The verbs that look after an archive: throw away leftovers, hand it on, forget a patient, find one again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tapetum.cli.frame import Out, Run, need, note, verb
from tapetum.core.errors import UsageError

KeyAt = Annotated[Path | None, typer.Option("--key", help="The key of the archive's pseudonyms.", show_default=False)]


@verb("ARCHIVE")
def gc(run: Run) -> None:
    """Throw away what nothing needs: parts of files, images that no row speaks of, old snapshots."""
    from tapetum.archive.upkeep import gc

    if run.dry_run:
        would = gc(run.path(), dry_run=True)
        run.plan(images=len(would.images), files=", ".join(would.files), bytes=would.bytes)
    found = gc(run.path())
    told = f"{len(found.images)} images, {len(found.files)} files, {found.bytes / 2**20:.1f} MiB gone"
    run.tell(told, dataclasses.asdict(found), then=f"tapetum verify {run.path()}")


@verb("ARCHIVE")
def export(
    run: Run,
    out: Out = None,
    splits: Annotated[str, typer.Option("--splits", help="Only these: train,val,test.")] = "",
) -> None:
    """Write an archive's images and records as a plain folder with a table, which `ingest` reads again."""
    from tapetum.archive import open_archive
    from tapetum.archive.upkeep import export

    _refuse_checkpoint(run.path())
    archive, place = open_archive(run.path()), need(out, "--out")
    run.plan(out=place, images=len(archive.records), mebibytes=200)
    done = export(run.path(), place, splits=[s for s in splits.split(",") if s])
    told = f"{done.images} images of {done.patients} patients"
    run.tell(told, dataclasses.asdict(done), wrote=[place], then=done.command)


def _refuse_checkpoint(place: Path) -> None:
    """A model goes out by another verb; the next command is named."""
    if (place / "model.safetensors").exists():
        raise UsageError(f"{place} is a checkpoint", "an archive", f"tapetum onnx {place} --out FOLDER")


@verb("ARCHIVE PATIENT", 2, 2)
def forget(
    run: Run,
    search: Annotated[str, typer.Option("--search", help="Folders with models and results, by commas.")] = "",
) -> None:
    """Delete a patient everywhere in an archive, and list the models that saw the patient."""
    from tapetum.archive import open_archive
    from tapetum.archive.upkeep import forget

    patient = run.inputs[1]
    if run.dry_run:
        images = sum(r.patient_id == patient for r in open_archive(run.path()).records)
        run.plan(images=images, searches=search)
    done = forget(run.path(), patient, search=[s for s in search.split(",") if s])
    lines = [f"{len(done.images)} images deleted, {len(done.files)} other files written anew or deleted"]
    lines += [f"saw the patient: {place}" for place in (*done.checkpoints, *done.artefacts)]
    lines += [f"still names the patient, look at it: {text}" for text in done.mentions]
    if not search:
        note("no --search FOLDER,… was given: models and results outside the archive were not looked for")
    note("the export itself was not touched: ingested again, it brings the patient back")
    run.tell("\n".join(lines), dataclasses.asdict(done), then=f"tapetum verify {run.path()}")


@verb("ARCHIVE PSEUDONYM…", 2, None)
def reidentify(
    run: Run,
    key: KeyAt = None,
    role: Annotated[str, typer.Option("--role", help="Who asks: a named role, kept in the log.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, kept in the log.")] = "",
) -> None:
    """Say what pseudonyms stand for, to a named role with the key; each call is noted in a log beside the key."""
    from tapetum.archive.deidentify.reidentify import reidentify

    if not role or not reason:
        raise UsageError("nobody said who asks and why", "--role and --reason", 'role="study nurse" reason="recall"')
    place, pseudonyms = need(key, "--key"), run.inputs[1:]
    run.plan(pseudonyms=len(pseudonyms), key=str(place))
    rows = reidentify(run.path(), pseudonyms, key=place, role=role, reason=reason)
    told = "\n".join(f"{row.kind} {row.pseudonym}: {row.original}" for row in rows)
    run.tell(told or "nothing is known of them", {"found": [dataclasses.asdict(row) for row in rows]})


@verb("ARCHIVE")
def rekey(
    run: Run,
    key: KeyAt = None,
    new: Annotated[Path | None, typer.Option("--new-key", help="The new key, made if there is none.")] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Also draw the splits anew, as at first.")] = False,
) -> None:
    """Give an archive a new key: every pseudonym, UID and date in it changes; old and new cannot be matched."""
    from tapetum.archive import open_archive
    from tapetum.archive.deidentify import Key
    from tapetum.archive.upkeep.rotate import rotate

    archive = open_archive(run.path())
    old, place = need(key, "--key"), need(new, "--new-key")
    run.plan(images=len(archive.records), old=str(old), new=str(place))
    fresh = Key.load(place) if place.exists() else Key.create(place, away_from=[run.path()])
    done = rotate(run.path(), Key.load(old), fresh, keep_splits=not redraw)
    told = f"{done.images} images of {done.patients} patients now follow key {fresh.id}"
    run.tell(told, dataclasses.asdict(done), wrote=[place], then=f"tapetum verify {run.path()}")
