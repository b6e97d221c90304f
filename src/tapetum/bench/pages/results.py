"""One self-contained page of a benchmark: no server, no script, nothing loaded; to be mailed, printed and kept."""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from tapetum.bench.pages.calibration import calibration_section
from tapetum.bench.pages.cases import failure_section, heat_section, search_section
from tapetum.bench.pages.changed import changed_section
from tapetum.bench.pages.examples import Pictures, measurable
from tapetum.bench.pages.numbers import (
    control_section,
    glossary_section,
    operating_section,
    reliability_section,
    result_section,
    roc_section,
)
from tapetum.bench.pages.parts import definitions, document, paragraph, section, text
from tapetum.bench.pages.shots import shots_section
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.core.errors import TapetumError
from tapetum.core.store import atomic_write, package_version
from tapetum.core.types import ImageRecord, Record, Split
from tapetum.knowledge import Pack, load_pack
from tapetum.learn import Model
from tapetum.learn.model import INTENDED_USE

PHANTOM = (
    "PHANTOM: these images show computed eyes of nobody. The numbers prove that a mechanism works; they say nothing "
    "about medicine."
)
PRIVATE = "This page holds images and report texts of patients: keep it where you would keep the archive."
TITLES = {
    "zero_shot": "Zero-shot detection", "linear_probe": "Linear probe", "knn": "Nearest neighbours",
    "retrieval": "Search by image and by words", "few_shot": "Few-shot curves", "noise": "Label noise",
    "ood": "Out-of-distribution detection", "calibration": "Calibration",
    "corrupted": "Corrupted images", "masked": "Masked images",
}  # fmt: skip
LIBRARIES = ("numpy", "torch", "onnxruntime", "transformers", "scikit-learn", "pillow")


def write_page(results: Results, path: Path) -> Path:
    """Write the page of a benchmark run; what is missing in the results is left out of the page.

    For research and second-reader support, not a cleared device.

    Args:
        results: of any protocol.
        path: the file to write, `.html`.

    Returns:
        `path`.
    """
    atomic_write(path, page(results))
    return path


def page(results: Results) -> str:
    """The page as text; equal results give equal pages."""
    first = results.records[0] if results.records else None
    pack = _pack_of(results.trial)
    name = functools.partial(display_name, pack=pack)
    parts = [
        _done(results, first),
        shots_section(results)
        or calibration_section(results, name)
        or changed_section(results, name)
        or result_section(results, name),
        roc_section(results, name),
        operating_section(results, name),
        reliability_section(results, name),
        control_section(results.control, name),
        *_pictured(results, pack),
        section("notes", "Notes", *_notes(results)),
        glossary_section(results),
    ]
    body = "\n".join(p for p in parts if p)
    title = _title(first)
    return document(title, _head(title, results, first) + contents(body), body, _foot(results, first))


def display_name(finding: str, *, pack: Pack | None) -> str:
    """What people call a finding.

    Example:
        >>> display_name("left_over", pack=None)
        'left over'
    """
    if pack is not None and finding in pack.findings:
        return pack.findings[finding].name
    return finding.replace("_", " ")


def contents(body: str) -> str:
    """Links to the sections that are there."""
    found = re.findall(r'<section id="(\w+)"><h2>(.*?)</h2>', body)
    links = "".join(f'<a href="#{anchor}">{title}</a> ' for anchor, title in found)
    return f'<nav aria-label="Contents">{links}</nav>'


def _title(first: Record | None) -> str:
    if first is None:
        return "Benchmark"
    name = first.protocol.partition("(")[0]
    return f"{TITLES.get(name, name.replace('_', ' ').capitalize())} · {first.data}"


def model_of(results: Results) -> Model | None:
    """The model that made the main row, or the one that was handed in."""
    made = next((s.model for s in results.scored if s.model is not None), None)
    return made or (results.trial.model if results.trial else None)


def _pictured(results: Results, pack: Pack | None) -> list[str]:
    """Sections with images; a damaged archive costs them and not the page."""
    if results.trial is None:
        return []
    pictures, model = Pictures(results.trial.test_archive, pack), model_of(results)
    name = functools.partial(display_name, pack=pack)
    main = results.scored[0] if results.scored else None
    parts: list[str] = []
    try:
        if main is not None and measurable(main):
            parts += [heat_section(main, pictures, name)]
        if model is not None:
            parts += [search_section(main, results.trial, model, pack, pictures, name)]
        if main is not None and measurable(main):
            parts += [failure_section(main, pictures, name)]
    except TapetumError as error:
        parts.append(section("pictures", "Pictures", paragraph(f"No further pictures: {error.found}.", "warn")))
    return parts


def _head(title: str, results: Results, first: Record | None) -> str:
    phantom = first.phantom if first else False
    parts = [f"<h1>{text(title)}</h1>", f'<p class="use"><b>Intended use.</b> {text(INTENDED_USE)}</p>']
    if phantom:
        parts.append(f'<p class="banner" role="note">{text(PHANTOM)}</p>')
    elif results.trial is not None:
        parts.append(f'<p class="soft">{text(PRIVATE)}</p>')
    if first is not None and first.test_reads > 1:
        words = (
            f"The test set has now been read {first.test_reads} times. Whatever was changed after a look at earlier "
            "results makes these too good."
        )
        parts.append(paragraph(words, "warn"))
    model = model_of(results)
    alarms: Sequence[str] = model.log.get("alarms", ()) if model else ()
    parts += [paragraph(f"Alarm of the training: {alarm}", "banner") for alarm in alarms]
    parts += [paragraph(f"Warning: {warning}", "banner") for warning in results.warnings]
    return "\n".join([*parts, _tiles(results, first)])


def _tiles(results: Results, first: Record | None) -> str:
    if first is None:
        return paragraph("There are no records.", "warn")
    tiles: list[tuple[str, str]] = []
    rows = dict.fromkeys((r.row, r.supervision) for r in results.records if r.metric == "auroc_score")
    for row, supervision in [k for k in rows if k[1] != "negative control"]:
        key = (row, supervision, MACRO, "auroc_score")
        macro = [r for r in results.records if (r.row, r.supervision, r.finding, r.metric) == key]
        if macro and len(tiles) < 2 and all(supervision not in said for _, said in tiles):
            found = macro[0].interval
            bounds = f"[{found.low:.3f}, {found.high:.3f}]"
            tiles.append((f"{found.estimate:.3f}", f"macro AUROC {bounds}, {supervision}"))
    images, patients = _counts(results)
    tiles.append((str(images), f"test images of {patients} patients"))
    if results.scored:
        main = results.scored[0]
        tiles.append((str(len(measurable(main))), f"of {len(main.predictions.findings)} findings can be measured"))
    if results.control is not None:
        tiles.append(("holds" if results.control.holds else "DOES NOT HOLD", "negative control"))
    shown = "".join(f'<div class="tile"><b>{text(value)}</b><span>{text(what)}</span></div>' for value, what in tiles)
    return f'<div class="tiles">{shown}</div>'


def _counts(results: Results) -> tuple[int, int]:
    """Images and patients of the test set, as far as any record counts them."""
    if results.scored:
        p = results.scored[0].predictions
        return len(p.image_ids), len(set(p.patient_ids))
    if results.trial is not None:
        records = results.trial.test_records
        return len(records), len({r.patient_id for r in records})
    return max((r.images for r in results.records), default=0), max((r.patients for r in results.records), default=0)


def _done(results: Results, first: Record | None) -> str:
    """What was done, on whom, with what: enough to do it again."""
    trial, model = results.trial, model_of(results)
    pairs: list[tuple[str, str]] = []
    if first is not None:
        how = "external: nothing was fitted on the tested archive" if trial and trial.external else "internal"
        kind = f", {how}" if trial else ""
        pairs += [("Protocol", f"<code>{text(first.protocol)}</code>{kind}"), ("Tested on", text(first.data))]
    if trial is not None:
        pairs.append(("Images and patients", _sizes(trial)))
        if results.scored:
            pairs.append(("Truth", _truth(results.scored[0].truth)))
    if model is not None:
        pairs += _model_lines(model)
    if first is not None:
        pairs += [
            ("Chosen by", text(first.selection)),
            ("Test set read", f"{first.test_reads} time{'s' * (first.test_reads != 1)}, this one included"),
            ("Seed", text(", ".join(map(str, first.seeds)))),
            ("Digests", " · ".join(f"{text(k)} <code>{text(v[:12])}</code>" for k, v in first.digests.items())),
        ]
    pairs.append(("Versions", text(_versions())))
    return section("done", "What was done", definitions(pairs))


def _truth(kind: str) -> str:
    return (
        "the clinic's labels" if kind == "labels" else "read from the reports by rules; not mentioned counts as absent"
    )


def _model_lines(model: Model) -> list[tuple[str, str]]:
    settings = model.config
    task = model.adapter_spec or str(settings.get("task", ""))
    lines = [
        ("Model", f"<code>{text(model.digest[:16])}</code>{f' from {text(model.path.name)}' if model.path else ''}"),
        ("Image towers", f"<code>{text(model.encoders)}</code>"),
        ("Text tower", f"<code>{text(model.text_encoder)}</code>" if model.text_encoder else ""),
        ("Adapter" if model.adapter_spec else "Task", f"<code>{text(task)}</code>" if task else ""),
    ]
    if model.aligner is not None:
        source = f"the pack {text(model.pack)}" if model.pack else "plain words"
        lines.append(("Prompts", f"<code>{text(model.prompt_set)}</code> of {source}"))
    learned = model.log.get("pairs")
    if learned is not None:
        lines.append(("Learned from", f"{text(learned)} images of {text(settings.get('archive', 'an archive'))}"))
    if model.log.get("penalty") is not None:
        lines.append(("Penalty", f"{float(model.log['penalty']):g}"))
    return lines


def _sizes(trial: Trial) -> str:
    def count(records: Sequence[ImageRecord]) -> str:
        return f"{len(records)} images of {len({r.patient_id for r in records})} patients"

    parts = [f"{s.value} {count(trial.archive.in_split(s))}" for s in (Split.TRAIN, Split.VAL)]
    other = f" ({text(trial.test_archive.name)})" if trial.external else ""
    parts.append(f"test {count(trial.test_records)}{other}")
    return " · ".join(parts)


def _versions() -> str:
    found = [f"tapetum {package_version()}", f"Python {platform.python_version()}"]
    for library in LIBRARIES:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _notes(results: Results) -> list[str]:
    lines = [paragraph(note) for note in results.all_notes]
    if results.scored and np.isnan(results.scored[0].predictions.thresholds).any():
        p = results.scored[0].predictions
        without = int(np.isnan(p.thresholds).sum())
        lines.append(
            paragraph(
                f"{without} of {len(p.findings)} findings have no operating point: too few validation images, or "
                "scores that do not rise with the truth. They are ranked only."
            )
        )
    return lines


def _foot(results: Results, first: Record | None) -> str:
    on = ""
    if first is not None:
        images, patients = _counts(results)
        on = f" Measured on {text(first.data)}, {images} images of {patients} patients, and on nothing else."
    return (
        f'<p class="soft">{text(INTENDED_USE)}{on} Not for other cameras, modalities or people than those tested. '
        f"Written by tapetum {text(package_version())}. Saved results keep all numbers as <code>records.jsonl</code>."
        "</p>"
    )


def _pack_of(trial: Trial | None) -> Pack | None:
    return load_pack(trial.test_archive.pack) if trial is not None and trial.test_archive.pack else None
