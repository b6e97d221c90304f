"""The methods of the long-tail table, one setting each, that of their paper wherever it names one; one by its spec."""

from __future__ import annotations

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.methods import Method

METHODS = Family("tapetum.learn.methods")

COSINE = "head='cosine(scale=30.0)'"
SAMPLING = tuple(
    f"one_stage(sampler='{name}')"
    for name in ("class_balanced", "square_root", "progressive", "repeat_factor", "undersampled")
)
WEIGHTING = tuple(
    f"one_stage(loss='{name}')"
    for name in (
        "inverse_frequency", "effective_number", "effective_number(gamma=2.0)", "weighted_softmax", "focal",
        "label_aware_smoothing",
    )
)  # fmt: skip
ADJUSTING = (
    *(f"one_stage(loss='{n}')" for n in ("balanced_softmax", "lade", "vector_scaling", "equalised", "seesaw")),
    "post_hoc", f"one_stage({COSINE})", f"one_stage({COSINE}, loss='ldam(scale=30.0)')",
    f"one_stage({COSINE}, late_loss='ldam(beta=0.9999, scale=30.0)', loss='ldam(scale=30.0)')",
    f"one_stage({COSINE}, loss='gaussian_clouded(scale=30.0)')",
)  # fmt: skip
BLENDING = tuple(f"one_stage(loss='balanced_softmax', mixing='{name}')" for name in ("mixup", "remix", "noise"))
TOGETHER = tuple(
    f"one_stage(compactness='{name}', head='hidden', loss='balanced_softmax')"
    for name in ("centre", "range_loss", "supervised_contrastive")
)
OPTIMISING = (
    "one_stage(sharpness=0.05)", "one_stage(loss='balanced_softmax', sharpness=0.05)",
    "one_stage(ema=0.99, loss='balanced_softmax')",
)  # fmt: skip
STAGES = ("crt", "lws", "tau_norm", "mislas", "disalign", "nearest_mean", "causal_norm")
SEVERAL = ("bbn", "sade", "ride", "flex_rs", "rsg")
HIDDEN = ("one_stage(head='hidden')", "one_stage(head='hidden', loss='balanced_softmax')")
STANDARD = (
    "one_stage", *SAMPLING, *WEIGHTING, *ADJUSTING, *BLENDING, *OPTIMISING, *HIDDEN, *TOGETHER, *STAGES, *SEVERAL,
)  # fmt: skip
# one of each kind, for a run that has other questions too
ONE_OF_EACH = (
    "one_stage", SAMPLING[0], WEIGHTING[0], ADJUSTING[0], "post_hoc", BLENDING[0], HIDDEN[1], "crt", "sade",
)  # fmt: skip
# where a tower learns too
PICTURES = (
    "one_stage", "one_stage(loss='balanced_softmax')", "one_stage(augment='rand_augment', loss='balanced_softmax')",
    *(
        f"one_stage(loss='balanced_softmax', mixing='{name}')"
        for name in ("mixup", "cutmix", "cropmix", "yoco", "augmix", "snapmix")
    ),
)  # fmt: skip
# of findings that occur together
BINARY = "loss='binary_cross_entropy'"
FINDINGS = (
    f"one_stage({BINARY})", "one_stage(loss='binary_cross_entropy(gamma=2.0)')", "one_stage(loss='asymmetric')",
    "one_stage(loss='distribution_balanced')", "one_stage(loss='distribution_balanced', sampler='class_balanced')",
    *(f"one_stage({BINARY}, sampler='{n}')" for n in ("class_balanced", "square_root", "progressive", "repeat_factor")),
    f"one_stage({BINARY}, mixing='mixup')", f"one_stage({BINARY}, mixing='noise')",
    f"one_stage({BINARY}, sharpness=0.05)", f"one_stage({BINARY}, ema=0.99)", f"one_stage({BINARY}, head='hidden')",
)  # fmt: skip


def method_of(spec: str, exclusive: bool = True) -> Method:
    """A method of `learn/methods` that learns classes, or findings that occur together.

    Raises:
        UsageError: it is unknown or needs something else.
    """
    method: Method = METHODS.build(spec)
    needs = set(method.NEEDS) - {"pictures", "features"}  # refused where rows are learned from, if they are the other
    if any(need != ("classes" if exclusive else "findings") for need in needs):
        what = "classes" if exclusive else "findings that occur together"
        raise UsageError(f"{spec} learns from {', '.join(method.NEEDS)}", f"a method of {what}")
    return method
