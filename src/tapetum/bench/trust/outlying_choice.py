"""Settings of OOD scores, chosen on OOD images that are not tested; and ODIN, which looks at the images again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64

from tapetum.bench.trial import Trial
from tapetum.bench.trust.outlying import SCORES, Known, Values
from tapetum.bench.trust.outlying_parts import Parts, Shown, embedder_of
from tapetum.core.errors import DataError, TapetumError, UsageError
from tapetum.core.registry import Spec
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.odin import ImageClassifier, Step
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.post_hoc import PostHoc, together
from tapetum.score.spectrum import threshold_between, threshold_for_kept

ODIN_IMAGES, ODIN_CHOSEN_ON = 1500, 200
TEMPERATURES = (1.0, 0.1, 0.5, 2.0, 10.0, 100.0)
# Of each score one option, six values, the default first: as many settings of each.
GRIDS: Mapping[str, tuple[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "knn": ("k", (10, 1, 5, 20, 50, 100)),
        "nnguide": ("k", (10, 1, 5, 20, 50, 100)),
        "msp": ("temperature", TEMPERATURES),
        "energy": ("temperature", TEMPERATURES),
        "gradnorm": ("temperature", TEMPERATURES),
        "neg_label": ("temperature", (0.01, 0.005, 0.02, 0.05, 0.1, 0.2)),
        "gen": ("gamma", (0.1, 0.01, 0.05, 0.2, 0.5, 0.9)),
        "react": ("quantile", (0.9, 0.8, 0.85, 0.95, 0.98, 0.99)),
        "ash": ("drop", (0.65, 0.5, 0.75, 0.85, 0.9, 0.95)),
        "scale": ("drop", (0.85, 0.5, 0.65, 0.75, 0.9, 0.95)),
        "dice": ("sparsity", (0.7, 0.5, 0.6, 0.8, 0.9, 0.95)),
        "mahalanobis": ("shrinkage", (None, 0.01, 0.05, 0.1, 0.3, 0.6)),
        "relative_mahalanobis": ("shrinkage", (None, 0.01, 0.05, 0.1, 0.3, 0.6)),
        "residual": ("dims", (0, 8, 16, 32, 64, 128)),
        "vim": ("dims", (0, 8, 16, 32, 64, 128)),
    }
)
STEPS = (Step(), Step(1, 0.0014), Step(1, 0.004), Step(1000, 0), Step(1000, 0.0005), Step(1000, 0.004))
LIMITS = ("kept", "balanced")


def limit_rule(limit: str, kept: float, parts: Parts) -> Callable[[Values], float]:
    """What the threshold is chosen by: known validation images alone, or these and the OOD images to choose on.

    Raises:
        UsageError: another rule, or `balanced` without OOD images to choose on.
    """
    if limit not in LIMITS or (limit == "balanced" and parts.choosing is None):
        raise UsageError(f"limit={limit!r}", "'kept', or with choose='…' 'balanced'")
    if limit == "kept":
        return lambda values: threshold_for_kept(values.val, kept=kept)
    return lambda values: threshold_between(values.val, values.choosing)


def chosen_settings(parts: Parts, known: Known, specs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The setting of each score that tells known validation images best from the OOD images to choose on.

    Args:
        parts: with OOD images to choose on; else nothing is chosen.
        known: what scores are fitted on.
        specs: a name without options stands for the six settings of `GRIDS`; one with options is taken as it is.

    Returns:
        Specs, and notes on what was chosen by what.
    """
    if parts.choosing is None:
        return list(specs), ["settings: as they come; thresholds: from known validation images alone (no choose=…)"]
    rows = known.rows(np.concatenate([parts.features(parts.val), parts.choosing.features]))
    ood = np.repeat([False, True], [len(parts.val), len(parts.choosing.records)])
    chosen: list[str] = []
    lines: list[str] = []
    for spec in specs:
        tried = _tried(spec, known)
        if len(tried) < 2:
            chosen.append(spec)
            continue
        areas = [auroc_score(values, ood) for values in together(list(tried.values()), rows)]
        best = int(np.nanargmax(areas))
        chosen.append(list(tried)[best])
        lines.append(
            f"{chosen[-1]} of {len(tried)} settings (AUROC there {areas[best]:.3f}, as it comes {areas[0]:.3f})"
        )
    told = "; ".join(lines) or "no score has a setting to choose"
    return chosen, [f"chosen on {len(parts.val)} known validation images and {_of(parts.choosing)}: {told}"]


def _of(shown: Shown) -> str:
    return f"{len(shown.records)} OOD images of {shown.archive.name}, none of which is tested"


def _tried(spec: str, known: Known) -> dict[str, PostHoc]:
    """Fitted scores by spec; settings that these images do not allow are no settings, but the first has to be."""
    name, grid = Spec.parse(spec).name, GRIDS.get(Spec.parse(spec).name)
    if grid is None or Spec.parse(spec).options:
        return {spec: SCORES.build(spec).fit(known.images)}
    found: dict[str, PostHoc] = {}
    for value in grid[1]:
        setting = str(Spec.parse(f"{name}({grid[0]}={value!r})")) if found else spec
        try:
            found[setting] = SCORES.build(setting).fit(known.images)
        except (DataError, UsageError):
            if not found:
                raise
    return found


def odin_values(trial: Trial, parts: Parts, known: Known) -> tuple[dict[str, Values], list[str]]:
    """ODIN of all images that scores are asked for, its step chosen on the OOD images to choose on.

    Returns:
        Its values by spec, and notes; nothing and the reason where it cannot be had.

    Raises:
        DataError: too many images to look at again.
    """
    head, standardiser = known.images.head, known.rows
    if head is None or not isinstance(standardiser, Standardiser):
        return {}, ["odin left out: it needs a linear head on the features of the towers, learned from labels"]
    count = sum(len(p) for p in (parts.val, parts.test, parts.outside)) + sum(
        len(p.records) for p in parts.further if p
    )
    if count > ODIN_IMAGES:
        raise DataError(f"odin on {count} images", f"at most {ODIN_IMAGES}: each is seen again", "odin=False")
    embedder = embedder_of(trial)
    try:
        classifier = ImageClassifier(embedder, standardiser, head)

        def of(shown: Shown, steps: Sequence[Step]) -> Float64[np.ndarray, "s n"]:
            return classifier.odin(shown.images(embedder), steps, known.images.mode, threads=trial.config.threads)

        step, note = _chosen_step(parts, of)
        val, test, outside = (of(parts.shown(name), [step])[0] for name in ("val", "test", "outside"))
        further = [of(part, [step])[0] if part else val[:0] for part in parts.further]
    except (TapetumError, OSError) as error:
        return {}, [f"odin left out: the images or a gradient cannot be had: {error}".replace("\n", " ")]
    return {str(step): Values(np.concatenate([test, outside]), val, *further)}, [note]


def _chosen_step(parts: Parts, of: Callable[[Shown, Sequence[Step]], Float64[np.ndarray, "s n"]]) -> tuple[Step, str]:
    if parts.choosing is None:
        return STEPS[0], f"{STEPS[0]}: as its authors set it, since nothing was given to choose on (choose=…)"
    known, ood = parts.shown("val").some(ODIN_CHOSEN_ON), parts.choosing.some(ODIN_CHOSEN_ON)
    values = np.concatenate([of(known, STEPS), of(ood, STEPS)], axis=1)
    truth = np.repeat([False, True], [len(known.records), len(ood.records)])
    areas = [auroc_score(row, truth) for row in values]
    best = int(np.nanargmax(areas))
    return STEPS[best], (
        f"{STEPS[best]} of {len(STEPS)} settings, chosen on {len(known.records)} known validation images and "
        f"{_of(ood)} (AUROC there {areas[best]:.3f}, as it comes {areas[0]:.3f})"
    )
