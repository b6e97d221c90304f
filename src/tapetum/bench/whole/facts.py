"""What a whole run knows of itself, one sentence per question that a reporting guideline asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tapetum.archive import Archive
from tapetum.bench.pages.checklist import Fact
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.whole.result import DONE, Outcome, Whole, number, told_of
from tapetum.core.store import package_version
from tapetum.core.types import UNKNOWN, ImageRecord, Record, Split
from tapetum.learn import Model
from tapetum.learn.model import INTENDED_USE

_PARTS = (Split.TRAIN, Split.VAL, Split.TEST)
ARCHIVE, RECORDS, MODEL, PACKAGE = "archive", "records", "model", "the package"


def facts_of(whole: Whole, archive: Archive, model: Model | None) -> dict[str, Fact]:
    """Facts by the names that the checklists use; what is not known is absent.

    Args:
        whole: the run.
        archive: that was learned on.
        model: that the detection part fitted or was handed.
    """
    said = {**_of_archive(archive), **_of_run(whole), **_of_parts(whole), **(_of_model(model) if model else {})}
    return {name: Fact(words, source) for name, (words, source) in said.items() if words}


def _of_archive(archive: Archive) -> dict[str, tuple[str, str]]:
    records = archive.records
    days = sorted(r.captured for r in records if r.captured != UNKNOWN)
    shown = Counter(r.device for r in records if r.device != UNKNOWN)
    devices = ", ".join(f"{name} {n}" for name, n in shown.most_common(8))
    sizes = len({(r.width, r.height) for r in records})
    eyes, reports = sum(r.laterality.value == UNKNOWN for r in records), sum(not r.report for r in records)
    unlabelled = sum(not r.labels for r in records)
    parts = "; ".join(f"{s.value} {_count(archive.in_split(s))}" for s in _PARTS)
    hidden = archive.deidentify != "none"
    return {
        "data_source": (f"Archive {archive.name}: {_count(records)}; modality {_modalities(records)}.", ARCHIVE),
        "data_digest": (f"Every number names the digest of the archive it was measured on: {archive.digest}.", ARCHIVE),
        "dates": (
            f"Images taken from {days[0]} to {days[-1]} ({len(days)} of {len(records)} dated)." if days else "",
            ARCHIVE,
        ),
        "devices": (f"Cameras, images each: {devices}." if devices else "", ARCHIVE),
        "refused": (
            f"Of the files offered, {len(archive.quarantine)} were refused for technical reasons, each listed with its "
            "reason in quarantine.csv.", ARCHIVE,
        ),
        "preparation": (
            f"Files were taken as they are (number of sizes: {sizes}), decoded to 8-bit RGB and resized for the "
            "towers; colours that look swapped are refused.", PACKAGE,
        ),
        "labels": (_labels(archive), ARCHIVE),
        "imbalance": (_imbalance(archive), ARCHIVE),
        "predictors": ("The image alone; no other fact about a person enters the model.", PACKAGE),
        "quality": (_quality(records), ARCHIVE),
        "missing": (
            f"Without a label {unlabelled}, without a report {reports}, without a known eye {eyes} of {len(records)} "
            "images. Unknown is kept as unknown and left out where it would be needed; nothing is filled in.", ARCHIVE,
        ),
        "partition": (
            f"Split by patient: {parts}. Learned on train, settings and thresholds chosen on val or on inner patient "
            "folds, tested on test.", ARCHIVE,
        ),
        "disjoint": ("No patient stands in two parts (checked in this run).", RECORDS),
        "demographics": (_people(archive), ARCHIVE),
        "compared": (_compared(archive), ARCHIVE),
        "privacy": (f"Pseudonyms under the profile {archive.deidentify}." if hidden else "", ARCHIVE),
    }  # fmt: skip


def _of_run(whole: Whole) -> dict[str, tuple[str, str]]:
    records = [r for r in whole.records if not math.isnan(r.interval.estimate)]
    metrics = list(dict.fromkeys(head_of(r.metric) for r in records if "(" not in r.metric))
    methods = "; ".join(list(dict.fromkeys(r.interval.method for r in records))[:4])
    seeds = ", ".join(str(s) for s in sorted({s for r in whole.records for s in r.seeds}))
    copies = [n for n in whole.notes if "look like images learned on" in n]
    words = {
        "copies": f"{copies[0]}." if copies else "No tested image was found that looks like one learned on.",
        "measures": f"{', '.join(metrics[:24])}{' and others' * (len(metrics) > 24)}; arrows say what is better.",
        "intervals": f"95 % intervals, whole patients drawn again: {methods}. Seeds {seeds}.",
        "readings": f"The test set had been read {whole.reads} time(s) when this was measured, this run included.",
        "external": "Internal: other patients of the same archive. No second archive was tested.",
    }
    if whole.other:
        words["external"] = f"Tested also on {whole.other}, on which nothing was fitted."
    if whole.warnings:
        first = " | ".join(w for _, w in whole.warnings[:3])
        words["limits"] = f"{len(whole.warnings)} warnings stand at the head of the page; first: {first}"
    tested = max((r for one in whole.outcomes for r in one.records if _detects(one)), key=_images, default=None)
    if tested is not None:
        size = f"{tested.images} images of {tested.patients} patients"
        words["sample_size"] = f"Tested: {size}. No size was planned; intervals say what it is worth."
        words["flow"] = "; ".join([*whole.notes, f"tested in detection: {size}"]) + "."
    if not records:
        for name in ("measures", "intervals", "readings"):
            del words[name]
    code = whole.digests.get("code", "")[:16]
    known = {
        "intended_use": (INTENDED_USE, PACKAGE),
        "software": (f"tapetum {package_version()}, code digest {code}; versions stand on the parts' pages.", PACKAGE),
        "blinding": ("The model reads pixels, no label and no other fact.", PACKAGE),
    }
    return known | {name: (said, RECORDS) for name, said in words.items()}


def _detects(one: Outcome) -> bool:
    return one.planned.name in ("detection", "words")


def _images(record: Record) -> int:
    return record.images


def _of_parts(whole: Whole) -> dict[str, tuple[str, str]]:
    names: Mapping[str, str] = {
        "performance": "detection", "calibration": "calibration", "fairness": "fairness", "noise": "noise",
        "doubt": "noise", "shift": "shift", "ood": "ood", "shortcuts": "fairness", "abstain": "abstain",
        "failures": "detection", "heatmaps": "words",
    }  # fmt: skip
    words: Mapping[str, Callable[[Outcome], str]] = {
        "doubt": lambda one: next((f"{n}." for n in one.notes if "in doubt by" in n), ""),
        "failures": lambda one: "Missed and false alarms are shown as pictures on the page, worst first.",
        "heatmaps": lambda one: "Where a score comes from is drawn on the page; it is no segmentation of lesions.",
    }
    done = {one.planned.name: one for one in whole.outcomes if one.status == DONE}
    return {
        fact: (words.get(fact, _main)(done[part]), f"{RECORDS}, {part}") for fact, part in names.items() if part in done
    }


def _main(one: Outcome) -> str:
    told = "; ".join(f"{head_of(r.metric)} {number(r)} ({told_of(r)})" for r in one.main)
    return f"{one.planned.title}: {told}." if told else ""


def _of_model(model: Model) -> dict[str, tuple[str, str]]:
    log, config, found = model.log, model.config, model.operating
    kind = f"adapter {model.adapter_spec}" if model.adapter is not None else "an image-text aligner"
    towers = "frozen" if not (model.towers or model.deltas) else "trained in part"
    said = {
        "model": f"{kind} on the image towers {model.encoders}, {towers}.",
        "model_digest": f"The checkpoint lies beside the page; its digest is {model.digest}.",
        "training": f"{log.get('pairs', '?')} rows, {log.get('patients', '?')} patients, seed {config.get('seed')}.",
        "selection": "Hyper-parameters by inner patient folds of what is learned from; test patients choose nothing.",
        "prediction": "Probability per image and finding; `tapetum predict` computes it from the checkpoint.",
        "ensemble": "None."
        if "+" not in model.encoders
        else f"Features of several towers side by side: {model.encoders}.",
    }
    if found is not None and found.findings:
        pairs = zip(found.findings, found.thresholds, strict=True)
        cuts = ", ".join(f"{finding} {cut:.3f}" for finding, cut in pairs if not math.isnan(cut))
        said["thresholds"] = (
            f"On probabilities after {found.calibrator}, chosen for a sensitivity of {found.sensitivity:g} on people "
            f"who are not tested: {cuts or 'none, too few images'}."
        )
    return {name: (words, MODEL) for name, words in said.items()}


def _quality(records: Sequence[ImageRecord]) -> str:
    judged = [r for r in records if not math.isnan(r.gradable)]
    poor = Counter(r.quality for r in judged if r.quality)
    if not judged:
        return ""
    why = ", ".join(f"{reason} {n}" for reason, n in poor.most_common()) or "none"
    return f"{poor.total()} of {len(judged)} photographs judged not gradable: {why}; they were tested too."


def _count(records: Sequence[ImageRecord]) -> str:
    return f"{len(records)} images of {len({r.patient_id for r in records})} patients"


def _modalities(records: Sequence[ImageRecord]) -> str:
    return ", ".join(sorted({r.modality for r in records}))


def _labels(archive: Archive) -> str:
    """Images with each label, in the three parts."""
    names = archive.label_names
    if not names:
        return ""
    columns = [
        np.nansum(archive.labels(names, image_ids=[r.image_id for r in archive.in_split(s)]), axis=0) for s in _PARTS
    ]
    told = ", ".join(f"{n} {'/'.join(f'{c[j]:.0f}' for c in columns)}" for j, n in enumerate(names[:16]))
    return f"Labels as the clinic gave them, images in train/val/test: {told}{' …' if len(names) > 16 else ''}."


def _imbalance(archive: Archive) -> str:
    names, train = archive.label_names, archive.in_split(Split.TRAIN)
    if not names or not train:
        return ""
    counts = np.nansum(archive.labels(names, image_ids=[r.image_id for r in train]), axis=0)
    most, least = int(counts.argmax()), int(counts.argmin())
    return (
        f"Commonest label {names[most]} {counts[most]:.0f}, rarest {names[least]} {counts[least]:.0f} training images."
    )


def _people(archive: Archive) -> str:
    first = {r.patient_id: r for r in reversed(archive.records)}.values()
    ages = [r.age_years for r in first if not math.isnan(r.age_years)]
    sexes = Counter(r.sex for r in first if r.sex != UNKNOWN)
    if not ages and not sexes:
        return ""
    told = [f"{len(first)} patients"]
    if ages:
        low, middle, high = np.percentile(ages, [25, 50, 75])
        told.append(f"age median {middle:.0f} (quartiles {low:.0f} to {high:.0f}), known of {len(ages)}")
    if sexes:
        told.append("sex " + ", ".join(f"{s} {n}" for s, n in sexes.most_common()))
    return "; ".join(told) + "."


def _compared(archive: Archive) -> str:
    parts: list[str] = []
    for split in (Split.TRAIN, Split.TEST):
        people = {r.patient_id: r for r in archive.in_split(split)}.values()
        ages = [r.age_years for r in people if not math.isnan(r.age_years)]
        women = [r.sex == "F" for r in people if r.sex in ("F", "M")]
        if ages:
            parts.append(
                f"{split.value}: age median {np.median(ages):.0f}{f', women {np.mean(women):.0%}' if women else ''}"
            )
    return "; ".join(parts) + "." if parts else ""
