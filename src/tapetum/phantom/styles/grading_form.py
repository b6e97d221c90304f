"""A screening form: one item a line with an answer for each eye.

Source: our own wording. Differs: denial and presence are answers ("right: yes, left: no") behind the item.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom import phrases as say
from tapetum.phantom.claims import EyeClaims, Visit
from tapetum.phantom.statement import Fact, Report, Sentence

__all__ = ["grading_form"]

_ANSWERS = (
    {"present": "yes", "absent": "no", "uncertain": "questionable"},
    {"present": "present", "absent": "absent", "uncertain": "possible"},
    {"present": "present", "absent": "none", "uncertain": "suspected"},
)
_EYES = (("right eye {}", "left eye {}", ", "), ("OD: {}", "OS: {}", "; "), ("R {}", "L {}", " / "))


def grading_form(visit: Visit, rng: np.random.Generator) -> Report:
    """Fill in the form."""
    answers, eyes = _ANSWERS[int(rng.integers(3))], _EYES[int(rng.integers(3))]
    head = [Sentence("Retinal screening form"), Sentence("Grader trained and certified.")]
    sentences = list(head)
    lines = [sentence.text for sentence in head]
    for eye, label in zip(visit.eyes, ("right", "left"), strict=True):
        sentence = Sentence(f"Image quality {label}: {'poor quality' if eye.quality else 'good'}.",
                            (eye.fact("low_image_quality"),) if eye.quality else (), True)  # fmt: skip
        sentences.append(sentence)
        lines.append(sentence.text)
    for i, eye in enumerate(visit.eyes):
        if eye.normal:
            sentences.append(Sentence(eyes[i].format("normal fundus"), (eye.fact("normal_fundus"),), True))
            lines.append(sentences[-1].text)
    status = [_statuses(eye) for eye in visit.eyes]
    items = dict.fromkeys((*status[0], *status[1]))
    for item in items:
        answered = [i for i in range(2) if item in status[i]]
        parts = [eyes[i].format(answers[status[i][item]]) for i in answered]
        facts = tuple(Fact(visit.eyes[i].side, item, status[i][item]) for i in answered)
        name = say.NAMES[item][1]
        sentence = Sentence(f"{name[0].upper()}{name[1:]}: {eyes[2].join(parts)}", facts, True)
        sentences.append(sentence)
        lines.append(sentence.text)
    outcome = Sentence("Outcome: " + ("refer to hospital eye service" if visit.change == "worse" else "routine recall"))
    return Report("grading_form", "\n".join((*lines, outcome.text)), (*sentences, outcome))


def _statuses(eye: EyeClaims) -> dict[str, str]:
    """What the form asks: everything found or doubted, and all usual items that are absent."""
    return {claim.finding: claim.status for claim in eye.claims} | dict.fromkeys(eye.clear, "absent")
