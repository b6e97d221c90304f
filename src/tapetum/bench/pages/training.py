"""How a training went, as a self-contained page and as JSON: curves, settings, data, machine, memory, alarms."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from tapetum.bench.pages.parts import definitions, document, figure, paragraph, section, table, text
from tapetum.bench.pages.plots_training import loss_plot, rate_plot
from tapetum.bench.pages.results import LIBRARIES, PHANTOM, contents
from tapetum.core.store import atomic_write, package_version, plain_json
from tapetum.learn.features.runtime import core_count, processor
from tapetum.learn.model import INTENDED_USE, Model

_STAGES = {"fine_tuning": "Fine-tuning", "self_supervision": "Self-supervision"}
_SHOWN_IDS = 12
_NAMES = {
    "trained": "Parameters trained in the towers", "head": "Parameters of the head", "frozen": "Parameters frozen",
    "delta_bytes": "Bytes of the delta", "start_loss": "Held-out loss of the start",
}  # fmt: skip
_KNOWN = (
    "train_loss",
    "held_loss",
    "average_loss",
    "bad_rows",
    "curve",
    "settings",
    "line",
    "alarms",
    "pairs",
    "patients",
)


@dataclass(frozen=True)
class Stage:
    """One loop of a training run, as the model's log tells of it; losses in nats per example.

    Attributes:
        name: what was trained. train, held, average: mean losses per epoch; the average is that of the weights.
        chance, held_chance: the loss of a model that knows nothing; NaN if untold.
        best_epoch: the one kept, from 0; -1 = none. averaged: the moving average was kept.
        curve: `step`, `loss`, `rate` as lists; empty in a log that knows only epochs.
        settings: of the loop. memory: the estimate in words. bad_step: -1 = none; bad_images: their names or rows.
        facts: the other plain numbers of the log.
    """

    name: str
    train: tuple[float, ...]
    held: tuple[float, ...] = ()
    average: tuple[float, ...] = ()
    chance: float = math.nan
    held_chance: float = math.nan
    best_epoch: int = -1
    averaged: bool = False
    curve: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    memory: str = ""
    bad_step: int = -1
    bad_images: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    @property
    def steps_per_epoch(self) -> float:
        """Steps of an epoch, NaN where the log does not tell."""
        steps, epochs = self.curve.get("steps", 0), self.settings.get("epochs", 0)
        return steps / epochs if steps and epochs else math.nan


def write_run(model: Model, folder: Path, *, seconds: float = math.nan, phantom: bool = False) -> Path | None:
    """Write `run.html` and `run.json` for a model that a loop trained; nothing for one in closed form.

    Args:
        model: as `adapt` or `pretrain` gave it, or loaded.
        folder: beside the checkpoint.
        seconds: that the whole call took, NaN = not measured.
        phantom: the images are of nobody.

    Returns:
        The folder, None where there is nothing to tell.
    """
    if not (found := stages(model)):
        return None
    facts = environment(int(model.config.get("threads", 0) or 0))
    whole = {**told(model, found, facts, seconds), "phantom": phantom}
    atomic_write(folder / "run.json", json.dumps(plain_json(whole), indent=1) + "\n")
    atomic_write(folder / "run.html", run_page(model, found, facts, seconds=seconds, phantom=phantom))
    return folder


def stages(model: Model) -> tuple[Stage, ...]:
    """The loops that the model's log tells of, in the order in which they ran."""
    tuner, task = model.config.get("tuner"), model.config.get("task")
    what = f"Tuning with {tuner}" if tuner else str(task or model.adapter_spec)
    found = [(place, _stage(log, " · ".join(place) or what)) for place, log in _loops(model.log, ())]
    first = _STAGES["self_supervision"]  # on images alone, before anything else
    return tuple(stage for _, stage in sorted(found, key=lambda one: one[0][:1] != (first,)))


def told(model: Model, found: Sequence[Stage], facts: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """What the page shows, for a program."""
    data = {"archive": model.config.get("archive"), "parents": dict(model.parents), "rows": model.log.get("pairs")}
    return {
        "model": model.digest, "encoders": model.encoders, "adapter": model.adapter_spec, "data": data,
        "settings": dict(model.config), "stages": [dataclasses.asdict(stage) for stage in found],
        "alarms": list(model.log.get("alarms", ())), "environment": dict(facts), "seconds": seconds,
    }  # fmt: skip


def environment(threads: int = 0) -> dict[str, str]:
    """Versions, processor and threads of this process.

    Args:
        threads: that the run was told to use, 0 = all cores.
    """
    cores = core_count()
    found = {"tapetum": package_version(), "Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return {
        **found,
        "system": platform.platform(),
        "processor": processor(),
        "threads": f"{threads or cores} of {cores}",
    }


def run_page(
    model: Model,
    found: Sequence[Stage],
    facts: Mapping[str, str],
    *,
    seconds: float = math.nan,
    phantom: bool = False,
) -> str:
    """The page as text; equal logs, machines and seconds give equal pages."""
    title = f"Training · {model.config.get('archive', 'an archive')}"
    settings = [(k, _code(v)) for k, v in model.config.items() if v not in ("", ())]
    body = "\n".join([
        *(_stage_section(i, stage) for i, stage in enumerate(found)),
        section("data", "Data", definitions(_data(model))),
        section("settings", "Settings", definitions(settings)),
        section("machine", "Machine", definitions([(k, text(v)) for k, v in facts.items()])),
    ])  # fmt: skip
    head = [f"<h1>{text(title)}</h1>", f'<p class="use"><b>Intended use.</b> {text(INTENDED_USE)}</p>']
    head += [f'<p class="banner" role="note">{text(PHANTOM)}</p>'] if phantom else []
    head += [paragraph(f"Alarm: {alarm}", "banner") for alarm in model.log.get("alarms", ())]
    head.append(_tiles(model, found, seconds))
    foot = (
        f'<p class="soft">{text(INTENDED_USE)} Losses say how a training went, not how well the model detects: that is '
        f"measured by <code>tapetum bench</code>. Written by tapetum {text(facts.get('tapetum', ''))}; the same "
        "numbers are in <code>run.json</code>.</p>"
    )
    return document(title, "".join(head) + contents(body), body, foot)


def _tiles(model: Model, found: Sequence[Stage], seconds: float) -> str:
    last = found[-1]
    tiles = [(f"{len(last.train)} of {last.settings.get('epochs', '?')}", "epochs"), *_best(last)]
    if "trained" in last.facts:
        tiles.append((f"{last.facts['trained']:,}", "parameters trained in the towers"))
    if not math.isnan(seconds):
        tiles.append((f"{seconds:.0f} s", "in all, embedding included"))
    tiles.append((f"{model.log.get('pairs', '?')}", "images learned from"))
    shown = "".join(f'<div class="tile"><b>{text(value)}</b><span>{text(what)}</span></div>' for value, what in tiles)
    return f'<div class="tiles">{shown}</div>'


def _best(stage: Stage) -> list[tuple[str, str]]:
    """The loss that was kept, beside what chance is."""
    kept = stage.average if stage.averaged else stage.held
    if not kept:
        return [(f"{stage.train[-1]:.3f}", f"last training loss (chance {_number(stage.chance)})")]
    if 0 <= stage.best_epoch < len(kept):
        where = f"held-out loss of epoch {stage.best_epoch + 1}, kept (chance {_number(stage.held_chance)})"
        return [(f"{kept[stage.best_epoch]:.3f}", where)]
    return [
        (
            f"{min(kept):.3f}",
            f"least held-out loss; the start was better and is kept (chance {_number(stage.held_chance)})",
        )
    ]


def _stage_section(number: int, stage: Stage) -> str:
    anchor = f"stage{number}"
    each = int(stage.curve.get("each", 1))
    legend = [("c6", "each step" if each == 1 else f"mean of {each} steps each")] * (
        not math.isnan(stage.steps_per_epoch)
    )
    legend += [("c1", "training, mean of an epoch")]
    legend += [("c2", "held-out patients")] * bool(stage.held)
    legend += [("c3", "held-out patients, moving average of the weights")] * bool(stage.average)
    keys = "<br>".join(f'<span class="key k{style[1:]}"></span>{text(name)}' for style, name in legend)
    kept = ""
    if stage.best_epoch >= 0:
        kept = f"The circle is the epoch that was kept{', as moving average' if stage.averaged else ''}."
    parts = [figure(loss_plot(stage), f"<p>{keys}</p>"), paragraph(f"{_chance(stage)} {kept}".strip())]
    if stage.curve.get("step") and not math.isnan(stage.steps_per_epoch):
        parts.append(figure(rate_plot(stage), "Learning rate: warm-up and decay over the steps that were planned."))
    if stage.bad_step >= 0:
        names = ", ".join(stage.bad_images[:_SHOWN_IDS]) + (" …" if len(stage.bad_images) > _SHOWN_IDS else "")
        parts.append(
            paragraph(f"Loss or gradient was not finite at step {stage.bad_step}; the batch: {names}", "banner")
        )
    parts.append(definitions([
        ("Loop", _code(", ".join(f"{k}={v}" for k, v in stage.settings.items() if v != ""))),
        ("Memory, estimated", text(stage.memory)),
        *((_NAMES.get(k, k.replace("_", " ")), _code(v)) for k, v in stage.facts.items()),
    ]))  # fmt: skip
    parts.append(f"<details><summary>Every epoch</summary>{_epochs(stage)}</details>")
    return section(anchor, stage.name, *parts)


def _epochs(stage: Stage) -> str:
    heads = ["epoch", "training", *["held out"] * bool(stage.held), *["average"] * bool(stage.average)]
    columns = [stage.train, *(c for c in (stage.held, stage.average) if c)]
    rows = [[str(i + 1), *(_number(c[i]) if i < len(c) else "" for c in columns)] for i in range(len(stage.train))]
    best = frozenset({stage.best_epoch} if stage.best_epoch >= 0 else ())
    return table(heads, rows, caption="Mean losses in nats; the line that was kept is bold.", totals=best)


def _data(model: Model) -> list[tuple[str, str]]:
    return [
        ("Archive", text(model.config.get("archive", "unknown"))),
        *((f"Digest of the {role}", f"<code>{text(digest)}</code>") for role, digest in model.parents.items()),
        ("Rows learned from", text(model.log.get("pairs", "unknown"))),
        ("Patients learned from", text(model.log.get("patients", ""))),
        ("Image towers", f"<code>{text(model.encoders)}</code>"),
        ("Text tower", f"<code>{text(model.text_encoder)}</code>" if model.text_encoder else ""),
        ("Model made", f"<code>{text(model.digest)}</code>"),
    ]


def _loops(log: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every part of a log that has losses per epoch."""
    if log.get("train_loss"):
        yield place, log
    for name, inner in log.items():
        if isinstance(inner, Mapping):
            yield from _loops(cast(Mapping[str, Any], inner), (*place, _STAGES.get(name, str(name))))


def _stage(log: Mapping[str, Any], name: str) -> Stage:
    bad = log.get("bad_images") or [f"row {row}" for row in log.get("bad_rows") or ()]
    names = {f.name for f in dataclasses.fields(Stage)} | set(_KNOWN) | {"bad_images", "memory_bytes"}
    plain = {k: v for k, v in log.items() if k not in names and isinstance(v, int | float | str) and v != ""}
    return Stage(
        f"{name} · {log['encoder']}" if "encoder" in log else name,
        _floats(log["train_loss"]), _floats(log.get("held_loss")), _floats(log.get("average_loss")),
        *(math.nan if log.get(k) is None else float(log[k]) for k in ("chance", "held_chance")),
        best_epoch=int(log.get("best_epoch", -1)), averaged=bool(log.get("averaged")), curve=log.get("curve") or {},
        settings=log.get("settings") or {}, memory=str(log.get("memory") or ""), bad_step=int(log.get("bad_step", -1)),
        bad_images=tuple(map(str, bad)), facts=plain,
    )  # fmt: skip


def _floats(values: Sequence[float | None] | None) -> tuple[float, ...]:
    return tuple(math.nan if v is None else float(v) for v in values or ())


def _chance(stage: Stage) -> str:
    """What the dashed lines are."""
    known = [
        f"{value:.4f} on {name} patients"
        for name, value in (("training", stage.chance), ("held-out", stage.held_chance))
        if not math.isnan(value)
    ]
    said = f"Dashed: chance, the loss of a model that sees nothing, {' and '.join(known)}." if known else ""
    return said or "What chance would be was not told."


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4f}"


def _code(value: object) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"<code>{text(shown)}</code>" if shown else ""
