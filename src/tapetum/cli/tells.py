"""What a verb tells when it is done: text for people, plain values for `--json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.cli.frame import Run, note
from tapetum.core.errors import ArtefactError, DataError
from tapetum.core.store import META, atomic_write, content_digest, read_meta

if TYPE_CHECKING:
    from tapetum.archive import Archive, AuditReport, IngestSummary
    from tapetum.bench import Results
    from tapetum.bench.demo import Demo
    from tapetum.core.types import Embeddings, Predictions
    from tapetum.learn import Model
    from tapetum.retrieve.search import Hit

INTENDED_USE = "Research and second-reader support, not a cleared device."
_SHOWN = 20


def ingest(run: Run, summary: IngestSummary, out: Path) -> None:
    """Counts, remarks and refusals; code 3 where something is in quarantine."""
    for text in (*summary.notes, *(f"warning: {w}" for w in summary.warnings)):
        note(text)
    for reason in summary.reasons[:_SHOWN]:
        note(f"quarantined: {reason}")
    if len(summary.reasons) > _SHOWN:
        note(f"… and {len(summary.reasons) - _SHOWN} more: {out / 'quarantine.csv'}")
    told = f"{summary.images} images of {summary.patients} patients: {summary.added} added, "
    plain = dataclasses.asdict(summary)
    run.tell(
        told + f"{summary.unchanged} unchanged, {summary.quarantined} in quarantine", plain, wrote=[out],
        then=f"tapetum audit {out}", partial=summary.quarantined > 0,
    )  # fmt: skip


def audit(run: Run, report: AuditReport, out: Path | None) -> None:
    """The report, also as a file where one is asked for."""
    if out:
        atomic_write(out, json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
    run.tell(report.text(), report.as_dict(), wrote=[out], then=f"tapetum pretrain {run.path()} --out model")


def embed(run: Run, found: Embeddings, archive: Archive, out: Path | None) -> None:
    """How many rows and columns; the artefact where one is asked for."""
    if out:
        from tapetum.learn.embed import save_embeddings

        save_embeddings(found, out, {"archive": archive.digest})
    rows, columns = found.features.shape
    result = {"images": rows, "features": columns, "encoders": found.encoder, "cache": str(archive.cache)}
    then = f"tapetum pretrain {run.path()} --out model"
    run.tell(
        f"{rows} images, {columns} features each, by {found.encoder}", result, wrote=[out or archive.cache], then=then
    )


def model(run: Run, made: Model, out: Path, *, then: str) -> None:
    """What the model was made from, and its alarms."""
    for alarm in made.log.get("alarms", ()):
        note(f"alarm: {alarm}")
    points = len(made.operating.findings) if made.operating else 0
    pairs = made.log.get("pairs", "unknown")
    text = f"trained on {pairs} images; {points} findings have an operating point\n{INTENDED_USE}"
    result = {
        "digest": made.digest,
        "log": dict(made.log),
        "operating": made.operating.as_dict() if made.operating else None,
    }
    run.tell(text, _plain(result), wrote=[out], then=then)


@dataclass(frozen=True)
class Source:
    """What `predict` reads: an archive, or loose image files."""

    count: int
    predict: Callable[..., tuple[Predictions, tuple[str, ...], dict[str, str]]]

    def __len__(self) -> int:
        return self.count


def archive_or_files(inputs: Sequence[str]) -> Source:
    """An archive where the one input is an artefact, else the image files among and below the inputs.

    Raises:
        DataError: no such path, or no image file there.
    """
    from tapetum.archive import open_archive
    from tapetum.learn.predict import IMAGE_SUFFIXES, image_files, predict_archive, predict_files

    places = [Path(text) for text in inputs]
    missing = [place for place in places if not place.exists()]
    if missing:
        raise DataError(f"there is no {missing[0]}", "an archive, image files or a folder with images")
    if len(places) == 1 and ((places[0] / META).exists() or (places[0] / "catalog.sqlite").exists()):
        archive = open_archive(places[0])

        def of_archive(model: Model, findings: Sequence[str], progress: Any) -> Any:
            return predict_archive(archive, model, findings, progress=progress), (), {"archive": archive.digest}

        return Source(len(archive.records), of_archive)
    files = image_files(places)
    if not files:
        raise DataError(f"no image file in {' '.join(inputs)}", " ".join(IMAGE_SUFFIXES))

    def of_files(model: Model, findings: Sequence[str], progress: Any) -> Any:
        return (*predict_files(files, model, findings, progress=progress), {})

    return Source(len(files), of_files)


def predictions(run: Run, found: Predictions, refused: Sequence[str], parents: dict[str, str], out: Path) -> None:
    """Where the table is; code 3 where files could not be read."""
    from tapetum.learn.predict import save_predictions

    save_predictions(found, out, {**parents, "model": found.model})
    for reason in refused:
        note(f"not read: {reason}")
    images, findings = found.logits.shape
    text = f"{images} images, {findings} findings, {len(refused)} files not read\n{INTENDED_USE}"
    result = {"images": images, "findings": list(found.findings), "not_read": list(refused), "model": found.model}
    run.tell(text, result, wrote=[out], partial=bool(refused))


def results(run: Run, found: Results, out: Path | None) -> None:
    """The table; Records and page where a folder is asked for."""
    from tapetum.bench.results import as_json

    wrote = [found.save(out)] if out else []
    control = dataclasses.asdict(found.control) if found.control else None
    result = {"records": [as_json(r) for r in found.records], "notes": list(found.notes), "control": control}
    then = f"open {out / 'report.html'} in a browser" if out else "the same with --out DIR, for Records and a page"
    run.tell(f"{found.table()}\n{INTENDED_USE}", _plain(result), wrote=wrote, then=then)


def hits(run: Run, found: Sequence[Hit]) -> None:
    """One line per image, best first."""
    lines = [f"{h.score:6.3f}  {h.image_id[:12]}  {h.patient_id:<12}  {h.laterality:<8}  {h.report}" for h in found]
    head = f"{'score':>6}  {'image':<12}  {'patient':<12}  {'eye':<8}  report"
    text = "\n".join([head, *lines, "A similar case is no diagnosis. " + INTENDED_USE])
    run.tell(text, {"hits": [dataclasses.asdict(h) for h in found]})


def demo(run: Run, found: Demo) -> None:
    """The main numbers, where the page is, and the way to one's own data."""
    result = {"numbers": found.numbers, "seconds": found.seconds, "page": found.page}
    run.tell(
        f"{found.table}\n{INTENDED_USE}", _plain(result), wrote=[found.page, *found.pictures],
        then="tapetum ingest YOUR_FOLDER --out clinic.tap --map patient=…,image=…,report=… pack=fundus",
    )  # fmt: skip


def embeddings_at(path: Path | None) -> Embeddings | None:
    """An Embeddings artefact, if one was named."""
    if path is None:
        return None
    from tapetum.learn.embed import load_embeddings

    return load_embeddings(path)


def damage(path: Path) -> tuple[str, ...]:
    """What is damaged in an archive or another artefact.

    Raises:
        ArtefactError: there is no artefact at `path`.
    """
    if (path / "catalog.sqlite").exists():
        from tapetum.archive import verify

        return verify(path)
    try:
        kind = json.loads((path / META).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtefactError(f"{path} is no artefact, or its {META} is damaged", "a folder that tapetum wrote") from None
    if kind == "archive":
        from tapetum.archive import verify

        return verify(path)
    stored, found = read_meta(path, kind).digest, content_digest(path)
    return () if stored == found else (f"{path}: its files have digest {found[:12]}, {META} says {stored[:12]}",)


def _plain(value: Any) -> Any:
    """NaN as null, so that any JSON reader takes it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
