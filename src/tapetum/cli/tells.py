"""What a verb tells when it is done: text for people, plain values for `--json`."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.cli.frame import Run, note, run_folder
from tapetum.cli.settings import PredictSettings
from tapetum.core.errors import ArtefactError, DataError
from tapetum.core.store import META, Meta, atomic_write, content_digest, plain_json, read_meta

if TYPE_CHECKING:
    from tapetum.archive import Archive, AuditReport, IngestSummary
    from tapetum.bench import Results
    from tapetum.bench.comparison import Comparison
    from tapetum.bench.demo import Demo
    from tapetum.bench.models.smaller import Smaller
    from tapetum.bench.pages.card import Card
    from tapetum.core.types import Embeddings, Predictions
    from tapetum.learn import Model
    from tapetum.learn.exporting.folder import Export
    from tapetum.learn.gate import Gate
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
    lines = [told + f"{summary.unchanged} unchanged, {summary.quarantined} in quarantine"]
    if summary.ungradable:
        reasons = ", ".join(f"{n} {reason}" for reason, n in summary.ungradable.items())
        lines.append(f"probably not gradable: {sum(summary.ungradable.values())} ({reasons})")
    if summary.profile != "none":
        lines.append(f"pseudonymised ({summary.profile}) with key {summary.key_id}: {summary.key_file}")
        lines.append("  keep the key apart from the archive and keep a copy: without it nobody can be found again")
    plain = dataclasses.asdict(summary)
    then = f"tapetum audit {out}"
    run.tell("\n".join(lines), plain, wrote=[out], then=then, partial=summary.quarantined > 0)


def audit(run: Run, report: AuditReport, out: Path | None) -> None:
    """The report, also as a file where one is asked for; code 3 where a benchmark on this archive would be wrong."""
    if out:
        atomic_write(out, json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
    then = f"tapetum pretrain {run.path()} --out model"
    run.tell(report.text(), report.as_dict(), wrote=[out], then=then, partial=report.fails)


def embed(run: Run, found: Embeddings, archive: Archive, out: Path | None) -> None:
    """How many rows and columns; the artefact where one is asked for."""
    if out:
        from tapetum.learn.features.embed import save_embeddings

        save_embeddings(found, out, {"archive": archive.digest})
    rows, columns = found.features.shape
    result = {"images": rows, "features": columns, "encoders": found.encoder, "cache": str(archive.cache)}
    then = f"tapetum pretrain {run.path()} --out model"
    run.tell(
        f"{rows} images, {columns} features each, by {found.encoder}", result, wrote=[out or archive.cache], then=then
    )


def model(run: Run, made: Model, out: Path, *, then: str, phantom: bool) -> None:
    """What the model was made from, and its alarms."""
    for alarm in made.log.get("alarms", ()):
        note(f"alarm: {alarm}")
    points = len(made.operating.findings) if made.operating else 0
    pairs = made.log.get("pairs", "unknown")
    have = "1 finding has" if points == 1 else f"{points} findings have"
    text = f"trained on {pairs} images; {have} an operating point\n{INTENDED_USE}"
    result = {
        "digest": made.digest,
        "log": dict(made.log),
        "operating": made.operating.as_dict() if made.operating else None,
    }
    from tapetum.bench.pages.training import write_run
    from tapetum.learn.training.together import is_first

    seconds = time.monotonic() - run.started
    told = write_run(made, run_folder(out), seconds=seconds, phantom=phantom) if is_first() else None
    run.tell(text, plain_json(result), wrote=[out, told], then=then)


def card(run: Run, made: Card, meta: Meta, out: Path | None) -> None:
    """The card as Markdown, or as a page where the file to write ends in .html."""
    if out:
        atomic_write(out, made.html() if out.suffix == ".html" else made.markdown())
    result = {"card": made.markdown(), "measured": bool(made.records), "meta": dataclasses.asdict(meta)}
    then = "" if made.records else f"tapetum bench zero_shot ARCHIVE --model {run.path()} --out DIR, then --results DIR"
    run.tell("" if out else made.markdown().rstrip(), result, wrote=[out], then=then)


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
    from tapetum.learn.gate import load_gate
    from tapetum.learn.predict import IMAGE_SUFFIXES, image_files, predict_archive, predict_files

    def told(asked: PredictSettings, progress: Any) -> dict[str, Any]:
        gate = load_gate(asked.gate) if asked.gate else None
        return {"agree": asked.agree, "check_colours": asked.check_colours, "gate": gate, "progress": progress}

    places = [Path(text) for text in inputs]
    missing = [place for place in places if not place.exists()]
    if missing:
        raise DataError(f"there is no {missing[0]}", "an archive, image files or a folder with images")
    if len(places) == 1 and ((places[0] / META).exists() or (places[0] / "catalog.sqlite").exists()):
        archive = open_archive(places[0])

        def of_archive(model: Model, asked: PredictSettings, progress: Any) -> Any:
            return (
                predict_archive(archive, model, asked.findings, **told(asked, progress)),
                (),
                {"archive": archive.digest},
            )

        return Source(len(archive.records), of_archive)
    files = image_files(places)
    if not files:
        raise DataError(f"no image file in {' '.join(inputs)}", " ".join(IMAGE_SUFFIXES))

    def of_files(model: Model, asked: PredictSettings, progress: Any) -> Any:
        return (*predict_files(files, model, asked.findings, **told(asked, progress)), {})

    return Source(len(files), of_files)


def predictions(run: Run, found: Predictions, refused: Sequence[str], parents: dict[str, str], out: Path) -> None:
    """Where the table is; code 3 where files could not be read."""
    from tapetum.learn.predict import save_predictions

    save_predictions(found, out, {**parents, "model": found.model})
    for reason in refused:
        note(f"not read: {reason}")
    images, findings = found.logits.shape
    text = f"{images} images, {findings} findings, {len(refused)} files not read\n{_left(found)}{INTENDED_USE}"
    result = {"images": images, "findings": list(found.findings), "not_read": list(refused), "model": found.model}
    run.tell(text, result, wrote=[out], partial=bool(refused))


def _left(found: Predictions) -> str:
    """How many answers a gate leaves to a person, by reason."""
    if found.doubts is None:
        return ""
    images, findings = found.logits.shape
    why = Counter(found.doubts.why(i, j) for i in range(images) for j in range(findings))
    told = ", ".join(f"{n} {reason}" for reason, n in sorted(why.items()) if reason)
    return f"of {images * findings} answers left to a person: {told or 'none'}\n"


def gate(run: Run, made: Gate, out: Path) -> None:
    """What is let through, and what that was fitted on."""
    share = (
        f"{made.score} above {made.limit:.4g} is left to a person: about {1 - made.counts['kept']:.0%} of known images"
    )
    unsure = [
        f for f, low, high in zip(made.findings, made.limits.lowest_present, made.limits.highest_absent, strict=True)
        if math.isinf(low) or math.isinf(high)
    ]  # fmt: skip
    lines = [share, ", ".join(f"{n} {what}" for what, n in made.counts.items() if what != "kept")]
    if unsure:
        lines.append(f"too few patients to rule out an answer at alpha={made.limits.alpha:g}: {', '.join(unsure)}")
    result = {"digest": made.digest, "score": made.score, "limit": made.limit, "counts": made.counts, "unsure": unsure}
    text = "\n".join([*lines, INTENDED_USE])
    run.tell(text, plain_json(result), wrote=[out], then=f"tapetum predict IMAGES --model CKPT gate={out}")


def results(run: Run, found: Results, out: Path | None) -> None:
    """The table; Records and page where a folder is asked for."""
    from tapetum.bench.tables.results import as_json

    wrote = [found.save(out)] if out else []
    control = dataclasses.asdict(found.control) if found.control else None
    result = {"records": [as_json(r) for r in found.records], "notes": list(found.notes), "control": control}
    then = f"open {out / 'report.html'} in a browser" if out else "the same with --out DIR, for Records and a page"
    run.tell(f"{found.table()}\n{INTENDED_USE}", plain_json(result), wrote=wrote, then=then)


def comparison(run: Run, found: Comparison, out: Path | None) -> None:
    """The table; code 3 where a cell had to be left out."""
    from tapetum.bench.tables.results import as_json

    wrote = [found.save(out)] if out else []
    left_out = list(found.absent)
    result = {
        "records": [as_json(r) for r in found.records], "notes": list(found.notes), "left_out": left_out,
        "alarms": list(found.alarms),
    }  # fmt: skip
    then = f"open {out / 'report.html'} in a browser" if out else "the same with --out DIR, for Records and a page"
    run.tell(f"{found.table()}\n{INTENDED_USE}", plain_json(result), wrote=wrote, then=then, partial=bool(left_out))


def distilled(run: Run, student: Model, found: Smaller, out: Path) -> None:
    """The table of teacher and student."""
    for alarm in student.log.get("alarms", ()):
        note(f"alarm: {alarm}")
    text = f"{found.table()}\n{student.log['line']}\n{INTENDED_USE}"
    result = {"digest": student.digest, "table": found.as_dict(), "log": dict(student.log)}
    run.tell(
        text, plain_json(result), wrote=[out], then=f"tapetum onnx {out} --on {run.path()} --out {out}_onnx int8=true"
    )


def exported(run: Run, done: Export, out: Path) -> None:
    """How far the runtimes are from torch, what lies there, and what was measured of it."""
    for name in clearly_worse(done.measured):
        note(f"alarm: {name} finds clearly less than the checkpoint: the interval of its difference lies below 0")
    lines = [
        f"{name}: logits differ by at most {p.logits:.1e}, features have a cosine of at least {p.cosine:.7f}, "
        f"{p.decisions} decisions differ ({p.images} images, {p.source})"
        for name, p in done.parity.items()
    ]
    lines += [f"{name}: {size:.2f} MB" for name, size in done.megabytes.items()]
    result = {
        "findings": list(done.findings), "parity": {name: p.as_dict() for name, p in done.parity.items()},
        "megabytes": dict(done.megabytes), "measured": dict(done.measured),
    }  # fmt: skip
    run.tell(
        "\n".join([*lines, *filter(None, [done.table]), INTENDED_USE]),
        plain_json(result),
        wrote=[out],
        then=f"python {out}/run.py IMAGE…",
    )


def clearly_worse(measured: Mapping[str, Any]) -> list[str]:
    """The rows of a table whose difference from the first lies below 0 with all of its interval.

    Example:
        >>> apart = {"interval": {"estimate": -0.04, "low": -0.08, "high": -0.01}}
        >>> clearly_worse({"rows": [{"name": "checkpoint", "apart": None}, {"name": "int8", "apart": apart}]})
        ['int8']
    """
    bounds = [(row["name"], row["apart"]["interval"]["high"]) for row in measured.get("rows", ()) if row["apart"]]
    return [name for name, high in bounds if high is not None and high < 0]


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
        f"{found.table}\n{INTENDED_USE}", plain_json(result), wrote=[found.page, *found.pictures],
        then="tapetum ingest YOUR_FOLDER --out clinic.tap --map patient=…,image=…,report=… pack=fundus",
    )  # fmt: skip


def embeddings_at(path: Path | None) -> Embeddings | None:
    """An Embeddings artefact, if one was named."""
    if path is None:
        return None
    from tapetum.learn.features.embed import load_embeddings

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
