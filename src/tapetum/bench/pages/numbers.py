"""The page's numbers: tables with intervals, curves, operating points, the negative control, what metrics mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tapetum.bench.pages.examples import measurable
from tapetum.bench.pages.parts import figure, paragraph, section, table, text
from tapetum.bench.pages.plots import control_plot, interval_bar, reliability_panel, roc_line, roc_panel
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.metric_words import METRICS, head_of
from tapetum.bench.tables.results import TOO_FEW, Control, Results
from tapetum.bench.trial import Scored
from tapetum.core.types import Interval, Record
from tapetum.score.operating import operating_point
from tapetum.score.reliability import reliability_bins, roc_curve

Names = Callable[[str], str]
FEW = 10  # positives or negatives below which an interval of the bootstrap is not to be trusted
PANELS = 24
AT_THRESHOLD = ("sensitivity_score", "specificity_score", "ppv_score", "npv_score", "balanced_accuracy_score")
BESIDE = ("auroc_score (DeLong)", "brier_error", "missed_error")  # in records.jsonl, not on the page
CONTROL = "negative control"


def result_section(results: Results, name: Names) -> str:
    """One table per method and kind of supervision, never mixed."""
    rows = list(dict.fromkeys((r.row, r.supervision) for r in results.records if r.supervision != CONTROL))
    parts = [_overview(results, rows)] if len(rows) > 1 else []
    for row, supervision in rows:
        mine = [r for r in results.records if (r.row, r.supervision) == (row, supervision)]
        meaning = SUPERVISION.get(supervision, "")
        parts.append(f"<h3>{text(row)} · {text(supervision)}</h3>{paragraph(meaning, 'soft') if meaning else ''}")
        parts.append(_table_of(mine, name))
    return section("results", "Results", *parts)


SUPERVISION: Mapping[str, str] = {
    "report-supervised": "Trained on images and reports, never on a label. The training reports may name the findings.",
    "published space": "The space of a published image-text model, as it came: nothing of this archive was learned. "
    "What its training texts named is not known here.",
    "unseen finding": "One model per finding, trained without any image whose report names it, a synonym or a finer "
    "form: detection of something that was never named. Only this is zero-shot in the strict sense.",
    "supervised": "Trained on labels of the training patients.",
    "unsupervised": "Fitted on training images alone, without labels or reports.",
    "reports + labels": "Starts from a model that has read all training reports; then trained on labels.",
    "given predictions": "Predictions made elsewhere; nothing is known here of how.",
}


def _overview(results: Results, rows: Sequence[tuple[str, str]]) -> str:
    lines: list[list[str]] = []
    for row, supervision in rows:
        found = [r for r in results.records if (r.row, r.supervision, r.finding) == (row, supervision, MACRO)]
        macro = next((r for r in found if r.metric == "auroc_score"), None)
        if macro is not None:
            lines.append([text(row), text(supervision), _cell(macro, bar=True)])
    return table(["method", "supervision", "macro AUROC ↑"], lines, caption="All methods") if len(lines) > 1 else ""


def _table_of(records: Sequence[Record], name: Names) -> str:
    # What stands at the threshold has a section of its own, but for groups.
    at = () if any(r.metric == "false_alarm_error" for r in records) else AT_THRESHOLD
    shown = [r for r in records if r.metric not in (*at, *BESIDE)]
    metrics = list(dict.fromkeys(r.metric for r in shown))
    retrieval = all(m.startswith("recall_at") for m in metrics)
    heads = ["direction" if retrieval else "finding", *(head_of(m) for m in metrics), "images", "patients"]
    heads += [] if retrieval else ["positive"]
    rows: list[list[str]] = []
    totals: set[int] = set()
    undefined: list[str] = []
    for finding in dict.fromkeys(r.finding for r in shown):
        of = {r.metric: r for r in shown if r.finding == finding}
        first = next(iter(of.values()))
        withheld = any(r.interval.method.startswith(TOO_FEW) for r in of.values())
        if not withheld and all(math.isnan(r.interval.estimate) for r in of.values()):
            undefined.append(f"{name(finding)} ({first.positives})")
            continue
        if finding == MACRO:
            totals.add(len(rows))
        few = finding != MACRO and not retrieval and min(first.positives, first.images - first.positives) < FEW
        label = "macro (mean of the findings)" if finding == MACRO else name(finding)
        counts = [str(first.images), str(first.patients), *([] if retrieval else [f"{first.positives}{'†' * few}"])]
        cells = [_cell(of[m], bar=m == metrics[0]) if m in of else "" for m in metrics]
        rows.append([text(label), *cells, *counts])
    parts = [table(heads, rows, totals=frozenset(totals))] if rows else []
    parts.append(_table_notes(shown, rows, undefined))
    return "".join(parts)


def _table_notes(records: Sequence[Record], rows: Sequence[Sequence[str]], undefined: Sequence[str]) -> str:
    parts: list[str] = []
    macro = next((r for r in records if r.finding == MACRO), records[0] if records else None)
    if macro is not None:
        level = f"{100 * macro.interval.level:.0f} %"
        parts.append(paragraph(f"Brackets: {level} intervals, {macro.interval.method}.", "soft"))
    if any("†" in cell for row in rows for cell in row):
        parts.append(
            paragraph(f"† fewer than {FEW} images on one side: read the interval as wider than it looks.", "soft")
        )
    if undefined and not rows and all(r.metric.startswith("recall_at") for r in records):
        words = "No query could be asked: no two patients of the test set share a text. Ask with relevant='own'."
        parts.append(paragraph(words, "warn"))
    elif undefined:
        listed = ", ".join(undefined)
        parts.append(
            f'<details class="soft"><summary>{len(undefined)} findings cannot be measured here: the test set has no '
            f"image with them, or none without (positives in brackets)</summary><p>{text(listed)}</p></details>"
        )
    return "".join(parts)


def _cell(record: Record, *, bar: bool) -> str:
    drawing = ""
    if bar and not math.isnan(record.interval.estimate):
        drawing = interval_bar(record.interval, chance=0.5 if record.metric == "auroc_score" else math.nan)
    return f"{drawing}{number_of(record.interval)}"


def number_of(interval: Interval) -> str:
    """An estimate with its bounds, for a table cell."""
    if math.isnan(interval.estimate):
        return f'<span class="soft">{TOO_FEW if interval.method.startswith(TOO_FEW) else "undefined"}</span>'
    if math.isnan(interval.low) and "bootstrap" not in interval.method:
        return f"<b>{interval.estimate:.3f}</b>"  # a p value, a share: it never had any
    bounds = "no bounds" if math.isnan(interval.low) else f"{interval.low:.3f}, {interval.high:.3f}"
    return f'<b>{interval.estimate:.3f}</b> <span class="soft">[{bounds}]</span>'


def roc_section(results: Results, name: Names) -> str:
    """A small ROC panel per finding: the main row, its threshold, and the strict row beside it."""
    if not results.scored:
        return ""
    main = results.scored[0]
    strict = next((s for s in results.scored[1:] if s.supervision == "unseen finding"), None)
    columns = measurable(main)
    panels = [_roc(main, strict, j, name) for j in columns[:PANELS]]
    if not panels:
        return ""
    legend = f'<span class="key k1"></span>{text(main.row)}, {text(main.supervision)} '
    if strict is not None:
        legend += '&emsp;<span class="key k2 kd"></span>the same, unseen finding '
    if not np.isnan(main.predictions.thresholds).all():
        legend += f"&emsp;○ at the threshold {'chosen on validation patients' if main.model else 'that was given'}"
    more = f"The {PANELS} findings with most positives of {len(columns)}." if len(columns) > PANELS else ""
    return section(
        "roc", "ROC curves", f'<p class="soft">{legend}</p>', paragraph(more, "soft") if more else "",
        f'<div class="grid">{"".join(panels)}</div>',
    )  # fmt: skip


def _roc(main: Scored, strict: Scored | None, column: int, name: Names) -> str:
    finding = main.predictions.findings[column]
    known = ~np.isnan(main.labels[:, column])
    truth = main.labels[known, column]
    lines = [roc_line(main.row, "c1", roc_curve(main.predictions.logits[known, column], truth))]
    if strict is not None and finding in strict.predictions.findings:
        other = strict.predictions.findings.index(finding)
        mask = ~np.isnan(strict.labels[:, other])
        curve = roc_curve(strict.predictions.logits[mask, other], strict.labels[mask, other])
        lines.insert(0, roc_line("unseen finding", "c2 dashed", curve))
    probs, cut = main.predictions.probs[known, column], float(main.predictions.thresholds[column])
    point = None
    if not math.isnan(cut) and not np.isnan(probs).any():
        called = probs >= cut
        point = float(called[truth == 0].mean()), float(called[truth == 1].mean())
    caption = f"<b>{text(name(finding))}</b><br>{int((truth == 1).sum())} of {len(truth)} images"
    return figure(roc_panel(f"ROC curve of {name(finding)}", lines, point), caption)


def reliability_section(results: Results, name: Names) -> str:
    """Stated against observed for every finding with probabilities, before and after calibration."""
    if not results.scored:
        return ""
    main = results.scored[0]
    panels: list[str] = []
    for j in measurable(main):
        known = ~np.isnan(main.labels[:, j]) & ~np.isnan(main.predictions.probs[:, j])
        truth = main.labels[known, j]
        if len(np.unique(truth)) < 2 or len(panels) == PANELS // 2:
            continue
        bins = int(np.clip(known.sum() // 20, 2, 10))
        raw = 1 / (1 + np.exp(-np.clip(main.predictions.logits[known, j], -60, 60)))
        after = reliability_bins(main.predictions.probs[known, j], truth, bins=bins, spacing="mass")
        before = reliability_bins(raw, truth, bins=bins, spacing="mass")
        finding = main.predictions.findings[j]
        caption = f"<b>{text(name(finding))}</b><br>{int(truth.sum())} of {len(truth)} images"
        panels.append(figure(reliability_panel(f"Reliability of {name(finding)}", after, before), caption))
    if not panels:
        return ""
    given = main.model is None and main.supervision == "given predictions"
    fitted = "the probabilities as given" if given else "calibrated on validation patients"
    return section(
        "reliability",
        "Are the probabilities honest?",
        f'<p class="soft"><span class="key k1"></span>{fitted} (dots: bins of about equal size) '
        '&emsp;<span class="key k2 kd"></span>before: the raw score as a probability. On the diagonal, what is '
        "stated is what is observed. Bars are Wilson intervals and take images as independent: too narrow where both "
        "eyes are in.</p>",
        f'<div class="grid">{"".join(panels)}</div>',
    )


def operating_section(results: Results, name: Names) -> str:
    """What the fixed thresholds give on the test patients."""
    if not results.scored:
        return ""
    main = results.scored[0]
    of: dict[str, dict[str, Record]] = {}
    for r in results.records:
        if (r.row, r.supervision) == (main.row, main.supervision) and r.metric in AT_THRESHOLD:
            of.setdefault(r.finding, {})[r.metric] = r
    rows: list[list[str]] = []
    for j, finding in enumerate(main.predictions.findings):
        known = ~np.isnan(main.labels[:, j]) & ~np.isnan(main.predictions.probs[:, j])
        cut = float(main.predictions.thresholds[j])
        if finding not in of or math.isnan(cut) or not known.any():
            continue
        point = operating_point(main.predictions.probs[known, j], main.labels[known, j], cut)
        called, rest = point.true_positives + point.false_positives, point.true_negatives + point.false_negatives
        counts = (
            (point.true_positives, point.true_positives + point.false_negatives),
            (point.true_negatives, point.true_negatives + point.false_positives),
            (point.true_positives, called),
            (point.true_negatives, rest),
        )
        shares = [
            f"{number_of(of[finding][m].interval)}<small>{right} of {among} images</small>" if m in of[finding] else ""
            for m, (right, among) in zip(AT_THRESHOLD[:4], counts, strict=True)
        ]
        rows.append([text(name(finding)), f"{cut:.3f}", *shares])
    if not rows:
        return ""
    operating = main.model.operating if main.model else None
    origin = "Thresholds came with the predictions"
    if operating:
        origin = f"Thresholds were chosen on validation patients for a sensitivity of {operating.sensitivity:g} there"
    heads = ["finding", "threshold", *(head_of(m) for m in AT_THRESHOLD[:4])]
    return section(
        "operating",
        "Operating points",
        paragraph(
            f"{origin} and were then left alone; this is what they give on the test patients. Predictive values hold "
            "at the share of positives of this test set only."
        ),
        table(heads, rows),
    )


def control_section(control: Control | None, name: Names) -> str:
    """Shuffled reports: the dots, the verdict, and the numbers per finding."""
    if control is None:
        return ""
    rows: list[list[str]] = []
    for finding, values in control.per_finding.items():
        known = [v for v in values if not math.isnan(v)]
        if known:
            several = f"{min(known):.3f} to {max(known):.3f}" if len(known) > 1 else ""
            rows.append([text(name(finding)), f"{float(np.mean(known)):.3f}", several])
    style = "good" if control.holds else "warn"
    possible = 1 / (len(control.shuffled) + 1)
    small = f" With {len(control.shuffled)} shuffles p cannot fall below {possible:.3f}." if possible > 0.05 else ""
    return section(
        "control",
        "Negative control",
        paragraph(
            "The same pipeline was trained again on reports shuffled between patients. It must find nothing: if it "
            "does, something other than the reports tells the answer." + small
        ),
        figure(
            f'<div class="scroll">{control_plot(control)}</div>',
            "Dots: shuffles. Line: their mean ± 2 standard errors. Diamond: the real run.",
        ),
        f'<p class="{style}"><b>{text(control.line())}</b></p>',
        table(
            ["finding", "mean of shuffles", "range"], rows, caption="Per finding: told, not judged (single ones wander)"
        ),
    )


def glossary_section(results: Results) -> str:
    """The metrics that occur, in words; arrows say which way is better."""
    used = {r.metric for r in results.records}
    items = "".join(f"<dt>{text(h)}</dt><dd>{text(w)}</dd>" for m, (h, w) in METRICS.items() if m in used)
    interval = (
        "<dt>interval</dt><dd>The range of values that agree with these data at the stated confidence, were other "
        "patients drawn. Whole patients are drawn again, both eyes together. It does not cover other cameras, clinics "
        "or people.</dd>"
        "<dt>macro</dt><dd>The plain mean over the findings that can be measured, rare and common alike.</dd>"
    )
    arrows = '<p class="soft">↑ higher is better, ↓ lower is better.</p>'
    return section("glossary", "What the numbers mean", arrows, f"<dl>{items}{interval}</dl>")
