"""What a smaller model costs and what it loses: size, speed and AUROC beside a reference, on the same patients."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, UInt8
from torch import nn

from tapetum.archive import Archive
from tapetum.archive.duplicates import copies
from tapetum.bench.readings import count_reading
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Embeddings, ImageRecord, Interval, Split
from tapetum.learn.exporting.run import Exported
from tapetum.learn.features.embed import decode_side
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.pretrain import targets
from tapetum.score import macro_auroc_interval
from tapetum.score.stats import PairedDifference, paired_auroc_difference

_NO_WEIGHTS = ("mean", "scale", "power", "penalty")
_TIMED_IMAGES = 4
_ROUNDS = 9
_BATCH = 16
Image = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Contender:
    """One way to get logits from decoded images.

    Attributes:
        score: decoded images → logits. through: the part of it that is timed.
        parameters: of towers and what lies on them. megabytes: of all weights that a machine needs to run it, in 10⁶
            bytes. side: the shorter side that images are decoded at. saw: splits whose patients it learned from.
    """

    name: str
    score: Callable[[Sequence[Image]], Float[np.ndarray, "n k"]]
    through: Callable[[Sequence[Image]], Any]
    parameters: int
    megabytes: float
    side: int
    saw: tuple[str, ...] = ("train",)


@dataclass(frozen=True)
class Row:
    """One contender, measured.

    Attributes:
        auroc: macro, with its interval over patients. apart: AUROC minus the reference's; None for the reference.
        image_ms: median milliseconds per decoded image, one core. speed: the reference's time over this one's, the
            median of rounds in which both ran.
    """

    name: str
    parameters: int
    megabytes: float
    image_ms: float
    speed: float
    auroc: Interval
    apart: PairedDifference | None
    saw: bool


@dataclass(frozen=True)
class Smaller:
    """The table.

    Attributes:
        rows: the reference first. split, truth: which patients, and whether labels or reports say what they have.
        left_out: images of the split that look like one which is learned on. reads: of the split, this one included.
    """

    rows: tuple[Row, ...]
    findings: tuple[str, ...]
    split: str
    truth: str
    images: int
    patients: int
    left_out: int
    reads: int
    data: str
    phantom: bool

    def table(self) -> str:
        """Markdown, with what must be known to read it."""
        many = len(self.findings) > 1
        score = "macro AUROC" if many else "AUROC"
        over = f"{score} over {len(self.findings)} findings" if many else f"{score} of {self.findings[0]}"
        where = f"{self.images} images of {self.patients} patients ({self.split}) of {self.data}"
        lines = [
            f"{'PHANTOM, ' if self.phantom else ''}{where}; truth: {self.truth}; {over}, "
            "95 % intervals over patients. MB of a checkpoint: all weights as float32. Milliseconds on one "
            "core, preprocessing included, rounds interleaved.", "",
            f"| model | parameters | MB | ms per image | speed | {score} | minus the first |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for row in self.rows:
            apart = "" if row.apart is None else str(row.apart)
            lines.append(
                f"| {row.name} | {row.parameters:,} | {row.megabytes:.2f} | {row.image_ms:.1f} | {row.speed:.2f} × | "
                f"{row.auroc} | {apart} |"
            )
        left_out = f"{self.left_out} images left out: they look like images learned on. " if self.left_out else ""
        lines += ["", f"{left_out}The {self.split} set was read {self.reads} time{'s' * (self.reads != 1)}."]
        seen = [row.name for row in self.rows if row.saw]
        if seen:
            lines += ["", f"{', '.join(seen)} learned from these patients: that AUROC is too high. Compare on others."]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def of_model(name: str, model: Model, findings: Sequence[str], *, cache: Path | None = None) -> Contender:
    """A checkpoint as `tapetum predict` runs it, on one core.

    Args:
        name: in the table.
        model: with its towers.
        findings: the columns.
        cache: folder for exported networks.
    """
    embedder = model.embedder(threads=1, cache=cache)

    def score(images: Sequence[Image]) -> Float[np.ndarray, "n k"]:
        names = tuple(map(str, range(len(images))))
        rows = Embeddings(names, names, embedder.pixels(images), embedder.encoders, embedder.blocks)
        return zero_shot(model, rows, findings).logits

    towers = [cast(nn.Module, runner.encoder) for runner in embedder.runners]
    parameters = sum(p.numel() for tower in towers for p in tower.parameters())
    if model.adapter is not None:
        parameters += sum(v.size for k, v in model.adapter.state().items() if k not in _NO_WEIGHTS)
    else:
        parameters += len(findings) * (embedder.dim + 1)
    config = model.config
    both = bool(config.get("cross_fit")) and not config.get("shots") and not config.get("tuner")
    side = max(decode_side(p.size) for p in embedder.preprocess)
    # the towers are what takes time; beside them `zero_shot` would be timed at telling whose weights these are
    return Contender(
        name, score, embedder.pixels, parameters, 4e-6 * parameters, side, ("train", "val") if both else ("train",)
    )


def of_folder(
    name: str,
    folder: Path,
    file: str,
    findings: Sequence[str],
    *,
    parameters: int = 0,
    saw: tuple[str, ...] = ("train",),
) -> Contender:
    """A network of an exported folder, on one core."""
    exported = Exported(folder, file=file, threads=1)
    columns = [entry["id"] for entry in exported.labels["findings"]]
    chosen = [columns.index(finding) for finding in findings]

    def score(images: Sequence[Image]) -> Float[np.ndarray, "n k"]:
        return np.asarray(exported(images)[0], dtype=np.float64)[:, chosen]

    size = (folder / file).stat().st_size / 1e6
    return Contender(name, score, exported, parameters, size, exported.preprocessing["decode_side"], saw)


def smaller(
    archive: Archive,
    contenders: Sequence[Contender],
    findings: Sequence[str],
    *,
    split: str = "val",
    draws: int = 1000,
    seed: int = 0,
) -> Smaller:
    """Score the patients of a split with every contender, and time them in turns.

    Images that look like one of the patients who are learned on (train, for `test` also val) are left out.

    Args:
        archive: with labels or reports.
        contenders: the reference first.
        findings: the columns; those with one class only among these patients are left out of the mean.
        split: `val` or `test`.
        draws: of the bootstrap over patients.
        seed: of the draws.

    Raises:
        UsageError: another split. DataError: no patients in it, or only copies of what is learned on.
    """
    records, left_out = _tested(archive, split)
    labels, truth = targets(archive, records, findings)
    logits: dict[str, list[np.ndarray]] = {c.name: [] for c in contenders}
    for start in range(0, len(records), _BATCH):
        part = [archive.pixels(r.image_id, min_side=_side(contenders)) for r in records[start : start + _BATCH]]
        for contender in contenders:
            logits[contender.name].append(contender.score(part))
    scores = {name: np.concatenate(parts) for name, parts in logits.items()}
    first = contenders[0].name
    some = [archive.pixels(r.image_id, min_side=_side(contenders)) for r in records[:_TIMED_IMAGES]]
    seconds = _seconds(contenders, some)
    who = np.asarray([r.patient_id for r in records])
    rows: list[Row] = []
    for contender in contenders:
        its = scores[contender.name]
        auroc = macro_auroc_interval(its, labels, who, rng=np.random.default_rng(seed), draws=draws)
        apart = None
        if contender.name != first:
            rng = np.random.default_rng(seed)
            apart = paired_auroc_difference(its, scores[first], labels, who, rng=rng, draws=draws)
        rows.append(_row(contender, seconds[contender.name], seconds[first], auroc, apart, split))
    return Smaller(
        tuple(rows), tuple(findings), split, truth, len(records), len(set(who.tolist())), left_out,
        count_reading(archive, split, f"smaller: {', '.join(c.name for c in contenders)}"), archive.name,
        archive.phantom,
    )  # fmt: skip


def _tested(archive: Archive, split: str) -> tuple[list[ImageRecord], int]:
    """The images of a split without copies of what is learned on, and how many copies there were."""
    if split not in (Split.VAL.value, Split.TEST.value):
        raise UsageError(f"split={split!r}", "val | test", "split=val")
    asked = archive.in_split(Split(split))
    if not asked:
        raise DataError(f"{archive.name} has no patients in the split {split}", "some", "another archive or split")
    before = (Split.TRAIN,) if split == Split.VAL.value else (Split.TRAIN, Split.VAL)
    alike = copies(archive, [r.image_id for part in before for r in archive.in_split(part)], archive)
    records = [r for r in asked if r.image_id not in alike]
    if not records:
        raise DataError(
            f"all {len(asked)} images of the split {split} look like images that are learned on", "other pictures",
            "tapetum audit ARCHIVE lists the pairs",
        )  # fmt: skip
    return records, len(asked) - len(records)


def judged(archive: Archive, model: Model, findings: Sequence[str], *, split: str = "val") -> Callable[..., Any]:
    """What `export_model` asks about the networks of a folder: each beside the model itself.

    Returns:
        Folder and file names → a Markdown table and plain values.
    """

    def judge(folder: Path, files: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        plain = of_model("checkpoint", model, findings)
        others = [
            of_folder(file, folder, file, findings, parameters=plain.parameters, saw=plain.saw) for file in files
        ]  # fmt: skip
        found = smaller(archive, [plain, *others], findings, split=split)
        return found.table(), _finite(found.as_dict())

    return judge


def _row(
    contender: Contender,
    mine: Sequence[float],
    firsts: Sequence[float],
    auroc: Interval,
    apart: PairedDifference | None,
    split: str,
) -> Row:
    # rounds are paired, so that a burst of other load hits both
    speed = statistics.median(a / b for a, b in zip(firsts, mine, strict=True))
    took = 1000 * statistics.median(mine)
    size = (contender.parameters, contender.megabytes)
    return Row(contender.name, *size, took, speed, auroc, apart, split in contender.saw)


def _seconds(contenders: Sequence[Contender], images: Sequence[Image]) -> dict[str, list[float]]:
    """Seconds per image in each round; every second round runs the other way round."""
    for contender in contenders:
        contender.through(images[:1])  # opens, exports, measures
    found: dict[str, list[float]] = {c.name: [] for c in contenders}
    for number in range(_ROUNDS):
        for contender in contenders if number % 2 == 0 else list(contenders)[::-1]:
            start = time.perf_counter()
            for image in images:
                contender.through([image])
            found[contender.name].append((time.perf_counter() - start) / len(images))
    return found


def _side(contenders: Sequence[Contender]) -> int:
    return max(contender.side for contender in contenders)


def _finite(value: Any) -> Any:
    """NaN as null."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in cast(Sequence[Any], value)]
    return value
