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
    "balanced_accuracy_score": (
        "balanced accuracy ↑",
        "The mean recall over classes; of one finding the mean of sensitivity and specificity at the threshold.",
    ),
    "recall_at_1_score": ("R@1 ↑", "The share of queries answered at the first place."),
    "recall_at_5_score": ("R@5 ↑", "The share of queries answered among the first five."),
    "auroc_difference": ("AUROC − other", "AUROC minus that of the other one named, or of the first row; 0 = equal."),
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
    "planted_rate": ("wrong, planted", "The share of labels flipped on purpose: what an estimate should say."),
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
    "balanced_accuracy_difference": ("bal. accuracy − first", "Balanced accuracy minus that of the first row."),
    "worst_recall_score": ("worst class ↑", "Recall of the class that a method recognises least."),
    "worst_cell_score": ("worst cell ↑", "Balanced accuracy in the cell of the table where the method is worst."),
    "head_recall_score": ("head recall ↑", "Mean recall of the common classes."),
    "medium_recall_score": ("medium recall ↑", "Mean recall of the classes between common and rare."),
    "tail_recall_score": ("tail recall ↑", "Mean recall of the rare classes."),
    "tail_recall_difference": ("tail − first", "Mean recall of the rare classes minus that of the first row."),
    "f1_score": ("macro F1 ↑", "The mean over classes of the harmonic mean of recall and precision."),
    "recall_score": ("recall ↑", "The share of a class's images that are called it."),
    "worst_auroc_score": ("worst finding ↑", "AUROC of the finding that a method ranks worst."),
    "head_auroc_score": ("head AUROC ↑", "Mean AUROC of the common findings."),
    "medium_auroc_score": ("medium AUROC ↑", "Mean AUROC of the findings between common and rare."),
    "tail_auroc_score": ("tail AUROC ↑", "Mean AUROC of the rare findings."),
    "tail_auroc_difference": ("tail − first", "Mean AUROC of the rare findings minus that of the first row."),
    "quadratic_kappa_difference": ("κ − first", "Quadratic κ minus that of the first row; 0 = equal."),
    "sensitivity_difference": ("sensitivity − first", "Sensitivity minus that of the first row; 0 = equal."),
    "specificity_difference": ("specificity − first", "Specificity minus that of the first row; 0 = equal."),
    "balanced_error": ("balanced error ↓", "1 minus balanced accuracy at the threshold chosen on unchanged images."),
    "relative_balanced_error": ("÷ baseline's ↓", "The balanced error divided by that of the baseline; 1 = equal."),
    "relative_increase_error": (
        "increase ÷ baseline's ↓",
        "How much the balanced error grows over unchanged images, divided by the same of the baseline; 1 = equal.",
    ),
    "kept_share": ("kept above 0.5", "(AUROC - 0.5) divided by that on whole images: what is left of the score."),
    "aurc_error": (
        "AURC ↓",
        "Area under risk and coverage: the mean share of wrong decisions when the most doubted answers are left to a "
        "person, over all shares decided.",
    ),
    "error_at_100_coverage": ("wrong of all ↓", "The share of wrong decisions when all answers are decided."),
    "error_at_90_coverage": ("of 90 % ↓", "The same among the 90 % of answers that are doubted least."),
    "error_at_80_coverage": ("of 80 % ↓", "The same among the 80 % of answers that are doubted least."),
    "error_at_50_coverage": ("of 50 % ↓", "The same among the half of the answers that is doubted least."),
    "present_kept_score": ("present kept ↑", "The share of images with the finding whose set keeps `present`."),
    "absent_kept_score": ("absent kept ↑", "The share of images without the finding whose set keeps `absent`."),
    "single_answer_score": ("single answers ↑", "The share of answers whose set holds one answer alone."),
    "single_answer_right_score": ("of these right ↑", "The share of those that are right."),
    "let_through_score": ("let through", "The share of images that the gate lets through."),
    "noise_rate (anchors)": ("wrong, by anchors", "The share of wrong labels as anchors estimate it."),
    "noise_rate (confident)": ("wrong, confident", "The share of wrong labels as the confident joint estimates it."),
    "recall_at_10_score": ("R@10 ↑", "The share of queries answered among the first ten."),
}  # fmt: skip


def head_of(metric: str) -> str:
    """A metric's head in a table; one without words of its own gets the arrow that its name asks for.

    Example:
        >>> head_of("auroc_score"), head_of("recall_difference"), head_of("recall_difference (p)")
        ('AUROC ↑', 'recall difference', 'p (Holm)')
    """
    if metric in METRICS:
        return METRICS[metric][0]
    if metric.endswith("(p)"):
        return "p (Holm)"
    arrow = {"score": " ↑", "error": " ↓"}.get(metric.rpartition("_")[2], "")
    return metric.removesuffix("_score").removesuffix("_error").replace("_", " ").replace("auroc", "AUROC") + arrow
