"""The page's pictures: where a model looks, what it finds by words, and where it fails."""

from __future__ import annotations

from collections.abc import Callable

from tapetum.bench.pages.examples import (
    TEXTS_AT_MOST,
    Case,
    HeatCase,
    Pictures,
    TextHit,
    best_images,
    failures,
    heat_cases,
    measurable,
    nearest_texts,
)
from tapetum.bench.pages.parts import case_card, identity, image, paragraph, report, section, text
from tapetum.bench.trial import Scored, Trial
from tapetum.core.errors import TapetumError
from tapetum.knowledge import Pack, prompts
from tapetum.learn import Model

FINDINGS, SEARCHED = 6, 4  # findings that are shown with pictures, and searched for
# what stands for an image in training, see `learn.pairs.image_text`
WORDS = {
    "report": "whole reports",
    "eye": "the sentences of reports on one eye",
    "findings": "names of the findings that reports affirm",
}
Names = Callable[[str], str]


def heat_section(scored: Scored, pictures: Pictures, name: Names) -> str:
    """One true positive per finding, and where its score comes from."""
    try:
        cases = heat_cases(scored, measurable(scored)[:FINDINGS], pictures)
    except TapetumError as error:
        return section("heat", "Where the score comes from", paragraph(f"No heat-maps: {error.found}.", "soft"))
    if not cases:
        return ""
    rows, columns = cases[0].grid
    return section(
        "heat",
        "Where the score comes from",
        paragraph(
            "For each finding the image with it that scored highest. Bright: the features of this patch would raise "
            "the score most if the whole image looked like it. This is no segmentation of lesions: a patch sees far "
            "more than its own square, and the scale is each picture's own, from its median to its highest patch. "
            f"The map has {rows} × {columns} patches."
        ),
        f'<div class="cases two">{"".join(_heat(case, name) for case in cases)}</div>',
    )


def search_section(
    scored: Scored | None, trial: Trial, model: Model, pack: Pack | None, pictures: Pictures, name: Names
) -> str:
    """Images found by words, and words found by an image."""
    if model.aligner is None:
        return ""
    parts: list[str] = []
    if scored is not None and scored.model is not None:
        parts += [_by_words(scored, j, model, pack, pictures, name) for j in measurable(scored)[:SEARCHED]]
    if parts:
        words = "The five test images that fit a finding's prompts best, in order, right or wrong."
        parts = ["<h3>From words to images</h3>", paragraph(words), *parts]
    try:
        asked = nearest_texts(trial, model, pack, pictures)
    except TapetumError as error:
        asked = []
        parts.append(paragraph(f"No search by image: {error.found}.", "soft"))
    if asked:
        rule = "the first by image id whose report affirms a finding" if pack else "the first by image id"
        words = WORDS[str(model.config.get("text", "report"))]
        parts += [
            "<h3>From an image to words</h3>",
            paragraph(
                f"The words of other patients that fit an image best: {words}. The images are {rule}: chosen before "
                "anything was scored. Words that only the same patient has are never offered; at most "
                f"{TEXTS_AT_MOST} different texts are searched."
            ),
            *(_asked(case, hits) for case, hits in asked),
        ]
    return section("search", "Search examples", *parts)


def failure_section(scored: Scored, pictures: Pictures, name: Names) -> str:
    """Per finding the worst on either side."""
    parts: list[str] = []
    for j in measurable(scored)[:FINDINGS]:
        cards = [
            case_card(c, name(scored.predictions.findings[j]), about=_stand(c)) for c in failures(scored, j, pictures)
        ]
        parts.append(f"<h3>{text(name(scored.predictions.findings[j]))}</h3>")
        parts.append(f'<div class="cases">{"".join(cards)}</div>')
    if not parts:
        return ""
    return section(
        "failures",
        "Gallery of failures",
        paragraph(
            "Per finding the two images without it that scored highest and the two with it that scored lowest. Look "
            "for what they share: poor light, dust, a mistake in the report or in the label. Image quality is not "
            "assessed here, and the words are those of the report that speak of this eye."
        ),
        *parts,
    )


def _heat(case: HeatCase, name: Names) -> str:
    title = name(case.finding)
    pair = image(case.case.picture, f"{title}: photograph") + image(case.overlay, f"{title}: heat-map over it")
    said = f"<b>{text(title)}</b> · {text(_stand(case.case))}"
    return (
        f'<figure><div class="pair">{pair}</div><figcaption>{said}{report(case.case.report)}'
        f"{identity(case.case)}</figcaption></figure>"
    )


def _by_words(scored: Scored, column: int, model: Model, pack: Pack | None, pictures: Pictures, name: Names) -> str:
    finding = scored.predictions.findings[column]
    cases = best_images(scored, column, pictures)
    truth = scored.labels[:, column]
    share = float((truth == 1).sum() / max(1, ((truth == 0) | (truth == 1)).sum()))
    right = sum(c.truth == 1 for c in cases)
    asked = (
        prompts(pack, finding, prompt_set=model.prompt_set) if pack and finding in pack.findings else (name(finding),)
    )
    words = ", ".join(asked[:4]) + (f" and {len(asked) - 4} more" if len(asked) > 4 else "")
    shown = "".join(case_card(_plain(c), name(finding)) for c in cases)
    return (
        f"<h3>{text(name(finding))}</h3>"
        f'<p class="soft">asked with: {text(words)}. {right} of {len(cases)} have it; by chance '
        f"{share * len(cases):.1f} would.</p>"
        f'<div class="cases five">{shown}</div>'
    )


def _plain(case: Case) -> Case:
    """The verdict of a search: has the image the finding or not."""
    verdict = {1.0: "present", 0.0: "absent"}.get(case.truth, "truth unknown")
    return Case(
        case.image_id, case.picture, case.report, case.eye, case.truth, case.score, case.prob, case.threshold, verdict
    )


def _asked(case: Case, hits: list[TextHit]) -> str:
    items: list[str] = []
    for hit in hits:
        shared = f"shares: {', '.join(hit.shared)}" if hit.shared else ""
        verdict = "says the same" if hit.same else shared or "no finding in common"
        style = "good" if hit.same or hit.shared else "warn"
        items.append(f'<li><span class="tag {style}">{text(verdict)}</span>{report(hit.text, 320)}</li>')
    picture = image(case.picture, f"image {case.image_id[:8]}, eye {case.eye}")
    own = f"<b>Its own words</b>{report(case.report, 320)}<b>Nearest words of others</b><ol>{''.join(items)}</ol>"
    return (
        f'<div class="asked"><figure>{picture}<figcaption>{identity(case)}</figcaption></figure><div>{own}</div></div>'
    )


def _stand(case: Case) -> str:
    """Probability against threshold, or the raw score where nothing was calibrated."""
    if case.prob != case.prob:  # NaN
        return f"score {case.score:.3f}, not calibrated"
    cut = "" if case.threshold != case.threshold else f" (threshold {case.threshold:.2f})"
    return f"probability {case.prob:.2f}{cut}"
