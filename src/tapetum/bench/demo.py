"""The demonstration: the whole way on a phantom clinic, so that anyone can see it work without anybody's data.

It proves mechanisms, not medicine. Pretraining reads reports only; the truth of the phantom is used as labels to choose
operating points on the validation patients, to fit the linear probe, and to measure on the test patients.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.archive import Archive, IngestConfig, audit, ingest, open_archive
from tapetum.bench.pages.demonstration import results_picture
from tapetum.bench.run import run_bench
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import BenchConfig, code_digest
from tapetum.core.config import digest
from tapetum.core.store import atomic_write, package_version
from tapetum.core.types import Split
from tapetum.learn import PretrainConfig, embed, pretrain
from tapetum.learn.features.embed import DEFAULT
from tapetum.phantom import ClinicConfig, make_clinic, phantom_sheet

LABELLED = "labelled.csv"
MADE = "demo.json"
_FEWEST = 10  # images with a finding, in train and in test, below which it is not measured
_MEASURED = (Split.TRAIN, Split.TEST)
Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoConfig:
    """How large the demonstration is.

    Args:
        patients: of the phantom clinic, two images each. size: side of an image in pixels.
        encoders, text_encoder: towers. text: which words stand for an image (see `PretrainConfig`); a phantom report
            speaks of both eyes, so that the findings it affirms for one eye fit that eye's image best.
        task: how images and texts are aligned; 270 pairs want more shrinkage than thousands (validation patients: macro
            AUROC 0.84 at 0.01, 0.90 at 0.1).
        shuffles: of the negative control. draws: of the bootstrap. threads: 0 = all cores.
    """

    patients: int = 220
    size: int = 256
    encoders: str = DEFAULT
    text_encoder: str = "minilm"
    text: str = "findings"
    task: str = "ridge(shrinkage=0.1)"
    shuffles: int = 20
    draws: int = 1000
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class Demo:
    """What the demonstration made and measured.

    Attributes:
        page: the report. pictures: files for people to look at. table: the main numbers, side by side.
        numbers: the same for programs. seconds: of each stage; those of an earlier run where nothing had to be done.
    """

    page: Path
    pictures: tuple[Path, ...]
    table: str
    numbers: Mapping[str, Any]
    seconds: Mapping[str, float]


def run_demo(
    out: Path,
    config: DemoConfig = DemoConfig(),
    *,
    say: Say = print,
    progress: Callable[[int, int], None] | None = None,
) -> Demo:
    """Make a clinic, take it in, audit, embed, train, measure, and write the page.

    Run again, it goes on where it was; where settings, data and code are the same, nothing is measured twice.

    Args:
        out: a folder of its own.
        config: how large.
        say: told what happens, line by line.
        progress: called with images embedded and images in all.

    Raises:
        ArtefactError: something else is at one of the places it writes to.
    """
    clock = _Clock(say)
    archive = _archive(out, config, clock)
    key = {"config": digest(config), "archive": archive.digest, "code": code_digest()}
    told: dict[str, Any] = _told(out / MADE)
    pictures = tuple(out / "pictures" / name for name in ("results.png", "phantom_sheet.jpg"))
    page = out / "report.html"
    if {k: told.get(k) for k in key} != key or not all(p.is_file() for p in (page, *pictures)):
        numbers, table = _measure(out, archive, config, clock, progress)
        told = {**key, "numbers": numbers, "table": table, "seconds": clock.seconds}
        atomic_write(out / MADE, json.dumps(told, indent=1) + "\n")
    else:
        say("measured before, with the same settings, data and code")
    return Demo(page, pictures, told["table"], told["numbers"], told["seconds"])


def _measure(
    out: Path, archive: Archive, config: DemoConfig, clock: _Clock, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, Any], str]:
    """Everything after ingest."""
    with clock("audit"):
        atomic_write(out / "audit.txt", audit(archive).text() + "\n")
    with clock(f"embed {len(archive.records)} images with {config.encoders}"):
        embed(archive, config.encoders, threads=config.threads, progress=progress)
    findings = enough(archive)
    shared: dict[str, Any] = {
        "encoders": config.encoders, "text_encoder": config.text_encoder, "text": config.text, "task": config.task,
        "seed": config.seed, "threads": config.threads,
    }  # fmt: skip
    with clock("pretrain on the reports of the training patients"):
        pretrain(archive, PretrainConfig(**shared)).save(out / "model")
    settings = BenchConfig(**shared, findings=findings, draws=config.draws)
    with clock(f"bench zero_shot: detect {len(findings)} findings by name; {config.shuffles} shuffled controls"):
        named = run_bench(f"zero_shot(shuffles={config.shuffles})", archive, settings)
    with clock("bench linear_probe: the same with labels"):
        probe = run_bench("linear_probe", archive, settings)
        probe.save(out / "linear_probe", page=False)
    with clock("page and pictures"):
        named.save(out / "zero_shot")
        atomic_write(out / "report.html", (out / "zero_shot" / "report.html").read_bytes())
        results_picture(named, out / "pictures" / "results.png")
        phantom_sheet(out / "pictures" / "phantom_sheet.jpg")
    return _numbers(named, probe), side_by_side(named, probe)


def side_by_side(named: Results, probe: Results) -> str:
    """AUROC of every finding by name, by name without ever having been named, and by a linear probe."""
    columns = [
        (named, "report-supervised", "named in reports"), (named, "unseen finding", "never named"),
        (probe, "supervised", "linear probe"),
    ]  # fmt: skip
    main = named.find(MACRO, "auroc_score", supervision="report-supervised")
    lines = [
        f"{main.data}: AUROC on {main.images} test images of {main.patients} patients, 95 % intervals over patients",
        "PHANTOM: proves mechanisms, not medicine",
        f"{'finding':<34}{'positive':>9}  " + "".join(f"{title:<23}" for _, _, title in columns).rstrip(),
    ]
    for finding in dict.fromkeys(r.finding for r in probe.records):
        found = [
            next(
                (r for r in of.records if (r.finding, r.metric, r.supervision) == (finding, "auroc_score", kind)), None
            )
            for of, kind, _ in columns
        ]
        cells = "".join(f"{str(r.interval) if r else '':<23}" for r in found).rstrip()
        lines.append(f"{finding:<34}{found[-1].positives if found[-1] else 0:>9}  {cells}")
    control = [named.control.line()] if named.control else []
    return "\n".join([*lines, "", *control, *named.all_notes])


def _numbers(named: Results, probe: Results) -> dict[str, Any]:
    control = named.control

    def macro(of: Results, supervision: str) -> float:
        return of.find(MACRO, "auroc_score", supervision=supervision).interval.estimate

    return {
        "zero_shot_macro_auroc": macro(named, "report-supervised"),
        "unseen_macro_auroc": macro(named, "unseen finding"),
        "linear_probe_macro_auroc": macro(probe, "supervised"),
        "negative_control": dataclasses.asdict(control) if control else None,
    }


def _told(place: Path) -> dict[str, Any]:
    """What an earlier run wrote down; nothing where it did not come so far."""
    try:
        return dict(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def add_truth(clinic: Path) -> Path:
    """Write `labelled.csv` beside a phantom's own table: the same rows, and the truth as a column `truth`.

    Returns:
        The file.
    """
    with (clinic / "truth" / "findings.csv").open(encoding="utf-8", newline="") as stream:
        truth = {row["file"]: row["findings"] for row in csv.DictReader(stream)}
    with (clinic / "clinic.csv").open(encoding="utf-8", newline="") as stream:
        rows = [{**row, "truth": truth.get(row["file"], "")} for row in csv.DictReader(stream)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(clinic / LABELLED, text.getvalue())
    return clinic / LABELLED


def enough(archive: Archive, fewest: int = _FEWEST) -> tuple[str, ...]:
    """Findings with `fewest` images with and without them in train and in test; of equal columns only the first.

    Counts alone decide, no score; all label names where no finding is that frequent.
    """
    names = archive.label_names
    labels = {s: archive.labels(names, image_ids=[r.image_id for r in archive.in_split(s)]) for s in _MEASURED}
    kept: dict[bytes, str] = {}
    for column, name in enumerate(names):
        truth = [labels[s][:, column] for s in _MEASURED]
        if all(min((t == 1).sum(), (t == 0).sum()) >= fewest for t in truth):
            kept.setdefault(np.concatenate(truth).tobytes(), name)
    return tuple(kept.values()) or names


def _archive(out: Path, config: DemoConfig, clock: _Clock) -> Archive:
    """The phantom clinic as an archive, from what an earlier run left if it was made with the same settings."""
    clinic = ClinicConfig(patients=config.patients, size=config.size, seed=config.seed)
    key = {"clinic": digest(clinic), "version": package_version()}
    made = out / "clinic" / MADE
    with clock(f"phantom: {2 * config.patients} images of {config.patients} patients who do not exist"):
        if not made.is_file() or json.loads(made.read_text(encoding="utf-8")) != key:
            make_clinic(out / "clinic", clinic)
            add_truth(out / "clinic")
            atomic_write(made, json.dumps(key) + "\n")
    with clock("ingest: reports to learn from; the phantom's truth as labels, never read by pretraining"):
        ingest([out / "clinic"], out / f"clinic-{key['clinic'][:8]}.tap", IngestConfig(
            name="phantom clinic", labels="truth", pack="fundus", table=LABELLED,
        ))  # fmt: skip
    return open_archive(out / f"clinic-{key['clinic'][:8]}.tap")


class _Clock:
    """Tells what happens and keeps how long it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._stage = ""
        self._start = 0.0
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str) -> _Clock:
        self._stage = stage
        return self

    def __enter__(self) -> None:
        self._start = time.monotonic()
        self._say(self._stage)

    def __exit__(self, *_: object) -> None:
        name = self._stage.partition(":")[0].split(" with")[0]
        self.seconds[name] = time.monotonic() - self._start
        self._say(f"  {self.seconds[name]:.1f} s")
