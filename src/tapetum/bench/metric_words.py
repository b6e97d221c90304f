"""What each metric is called in a table, and what it means, for a reader of the page."""

from __future__ import annotations

from collections.abc import Mapping

# metric → its head in a table, and what it means; arrows say which way is better.
METRICS: Mapping[str, tuple[str, str]] = {
    "auroc_score": (
        "AUROC ↑",
        "The chance that an image with the finding scores higher than one without it. 0.5 is chance, 1 is perfect; "
        "does not depend on how common the finding is, nor on any threshold.",
    ),
    "average_precision_score": (
        "AP ↑",
        "Average precision: the mean share of true positives among the highest-scored images. Chance is the share of "
        "positives among the images, so that values of findings of different frequency do not compare.",
    ),
    "expected_calibration_error": (
        "ECE ↓",
        "Expected calibration error: the mean distance between the stated probability and the observed share, over "
        "bins. 0 is perfect; small test sets alone push it up.",
    ),
    "debiased_calibration_error": (
        "debiased ↓",
        "The same distance, root mean square, with what chance alone puts into small bins taken off. 0 is perfect at "
        "any number of images.",
    ),
    "brier_error": (
        "Brier ↓",
        "The mean squared distance of the probability from what came true. 0 is perfect; always saying the share of "
        "positives p gives p (1 - p).",
    ),
    "log_loss_error": (
        "log loss ↓",
        "The mean surprise of what came true, in nats. A wrong certainty costs most: one image can decide it.",
    ),
    "calibration_slope": (
        "slope (1)",
        "What the stated log odds are to be multiplied with to be right. 1 is perfect, below it they are too extreme.",
    ),
    "calibration_intercept": (
        "intercept (0)",
        "What is to be added to the stated log odds to be right on the whole. 0 is perfect; below it they are too "
        "high.",
    ),
    "brier_reliability_error": (
        "reliability ↓", "The part of the Brier error that comes of stated and observed shares lying apart.",
    ),
    "brier_resolution_score": (
        "resolution ↑", "How far the shares in the bins lie from the share of all: what a model knows; subtracted.",
    ),
    "expected_calibration_difference": ("ECE − as it is", "ECE after calibration minus before; below 0 it has helped."),
    "brier_difference": ("Brier − as it is", "Brier error after calibration minus before; below 0 it has helped."),
    "fpr_at_95_tpr_error": (
        "FPR95 ↓",
        "The share of negatives called at the highest threshold that finds 95 % of the positives. 0.95 is chance; "
        "it depends on which class is the positive one.",
    ),
    "quadratic_kappa_score": (
        "quadratic κ ↑",
        "Agreement on grades beyond chance; a miss by two grades weighs four times a miss by one. 0 is chance, 1 is "
        "perfect.",
    ),
    "accuracy_score": ("accuracy ↑", "The share of images whose most probable grade or class is the right one."),
    "sensitivity_score": ("sensitivity ↑", "The share of images with the finding that are called."),
    "specificity_score": ("specificity ↑", "The share of images without the finding that are not called."),
    "ppv_score": (
        "PPV ↑",
        "Positive predictive value: the share of calls that are right, at the share of positives in this test set; "
        "it falls where the finding is rarer.",
    ),
    "npv_score": ("NPV ↑", "Negative predictive value: the share of images not called that are without the finding."),
    "balanced_accuracy_score": ("balanced acc. ↑", "The mean of sensitivity and specificity at the threshold."),
    "recall_at_1_score": ("R@1 ↑", "The share of queries answered at the first place."),
    "recall_at_5_score": ("R@5 ↑", "The share of queries answered among the first five."),
    "auroc_difference": ("AUROC apart", "AUROC of the first minus AUROC of the second named; 0 = equal."),
    "false_alarm_error": (
        "false alarms ↓",
        "The share of images without the finding that are called, at the one threshold that holds for everybody.",
    ),
    "missed_error": (
        "missed ↓",
        "Underdiagnosis: the share of images with the finding that are not called, at the same threshold.",
    ),
    "auroc_gap": (
        "AUROC gap ↓",
        "AUROC of the best group minus that of the worst; 0 = equal. Chance alone gives more than 0, the more, the "
        "smaller the groups: compare with the gap by chance.",
    ),
    "auroc_gap_by_chance": (
        "gap by chance",
        "The mean gap after patients exchanged groups: what equally good groups of these sizes would show.",
    ),
    "auroc_gap_p_value": (
        "p (Holm)",
        "The share of exchanges of groups between patients with so large a gap, corrected for all comparisons.",
    ),
    "equity_scaled_auroc_score": (
        "equity-scaled ↑",
        "AUROC / (1 + sum of the groups' distances from it): the AUROC where all groups are equal, else less.",
    ),
    "equal_opportunity_difference": (
        "sensitivity gap ↓",
        "Sensitivity of the best group minus that of the worst at one threshold (equal opportunity); 0 = equal.",
    ),
    "equalised_odds_difference": (
        "equalised odds ↓",
        "The larger one of the gaps of sensitivity and of false alarms at one threshold; 0 = equal.",
    ),
    "equal_opportunity_p_value": (
        "p (Holm)",
        "The share of exchanges of groups with so large a gap of sensitivity, corrected for all comparisons.",
    ),
    "explained_share": (
        "share explained",
        "(AUROC of what holds no medicine - 0.5) / (AUROC of the image features - 0.5). Near 1, the finding can be "
        "told without looking at the organ.",
    ),
    "noise_rate": (
        "share wrong",
        "The estimated share of wrong labels. Classes that overlap look like wrong labels, more so to the confident "
        "joint than to anchors: compare with what the same estimate says where flips were planted.",
    ),
    "planted_rate": ("planted", "The share of labels that were flipped on purpose: what an estimate should say."),
    "flips_auroc_score": ("flips AUROC ↑", "The chance that a flipped label is trusted less than one that was not."),
    "doubt_precision_score": ("doubted, wrong ↑", "Of the labels in doubt, the share that had been flipped."),
    "doubt_recall_score": ("wrong, doubted ↑", "Of the flipped labels, the share in doubt."),
    "kept_precision_score": ("kept, right ↑", "Of the labels not in doubt, the share that had not been flipped."),
    "trusted_precision_score": (
        "trusted: right ↑",
        "Of the labels that a method learned from at the end, the share that had not been flipped.",
    ),
    "trusted_recall_score": (
        "right: trusted ↑",
        "Of the labels that had not been flipped, the share that a method learned from; near 0 for a class means that "
        "the class was lost.",
    ),
    "recall_at_10_score": ("R@10 ↑", "The share of queries answered among the first ten."),
}  # fmt: skip
