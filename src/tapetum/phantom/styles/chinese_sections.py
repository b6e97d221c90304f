"""A Chinese report with headings, each eye described and then concluded upon.

Source: our own wording. Differs: Chinese; the parser's Chinese rules were tuned on this author.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom import phrases as say
from tapetum.phantom.claims import EyeClaims, Visit, one_of
from tapetum.phantom.statement import Report, Sentence, running
from tapetum.phantom.words_chinese import POOR, name_of

__all__ = ["chinese_sections"]

_DISC = ("视盘边界清，色淡红。", "视盘界清色正。", "C/D约{:.1f}。")
_NORMAL = ("眼底正常。", "眼底未见异常。", "眼底未见明显异常。")


def chinese_sections(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the report."""
    patient = visit.patient
    ills = [word for word, ill in (("2型糖尿病", patient.diabetes), ("高血压病", patient.hypertension)) if ill]
    history = [Sentence(f"{'、'.join(ills)}{int(rng.integers(2, 20))}年。" if ills else "否认全身病史。")]
    bodies = [_described(eye, rng) for eye in visit.eyes]
    ends = [_concluded(eye, label, rng) for eye, label in zip(visit.eyes, ("右眼", "左眼"), strict=True)]
    lines = [f"病史：{running(history, '')}", "眼底所见："]
    lines += [f"{label}：{running(body, '')}" for label, body in zip(("右眼", "左眼"), bodies, strict=True) if body]
    conclusion = [sentence for sentence in ends if sentence]
    if conclusion:
        lines.append(f"诊断：{running(conclusion, '')}")
    advice = [Sentence(f"{int(rng.choice([3, 6, 12]))}个月后复查。")]
    if visit.change:
        advice.insert(0, Sentence("较前加重。" if visit.change == "worse" else "较前无明显变化。"))
    lines.append(f"建议：{running(advice, '')}")
    return Report("chinese_sections", "\n".join(lines), (*history, *bodies[0], *bodies[1], *conclusion, *advice))


def _described(eye: EyeClaims, rng: np.random.Generator) -> list[Sentence]:
    """Signs, doubts and denials of one eye."""
    body: list[Sentence] = []
    if eye.quality:
        body.append(Sentence(f"{POOR[eye.quality]}。", (eye.fact("low_image_quality"),), True))
    if eye.normal:
        body.append(Sentence(one_of(rng, _NORMAL), (eye.fact("normal_fundus"),), True))
    elif not {"optic_disc_swelling", "optic_disc_cupping", "optic_atrophy"} & {claim.finding for claim in eye.stated}:
        body.append(Sentence(one_of(rng, _DISC).format(eye.ratio), (), True))
    signs = [claim for claim in eye.stated if claim.finding not in say.DIAGNOSES]
    if signs:
        what = "、".join(name_of(claim.finding, rng) for claim in signs)
        text = one_of(rng, ("可见{}。", "视网膜见{}。", "后极部可见{}。")).format(what)
        body.append(Sentence(text, tuple(claim.fact for claim in signs), True))
    for claim in eye.doubted:
        text = one_of(rng, ("可疑{}。", "{}待排。", "不除外{}。")).format(name_of(claim.finding, rng))
        body.append(Sentence(text, (claim.fact,), True))
    if eye.denied:
        what = "、".join(name_of(claim.finding, rng) for claim in eye.denied)
        text = one_of(rng, ("未见{}。", "未见明显{}。", "无{}。")).format(what)
        body.append(Sentence(text, tuple(claim.fact for claim in eye.denied), True))
    return body


def _concluded(eye: EyeClaims, label: str, rng: np.random.Generator) -> Sentence | None:
    """The diseases of one eye."""
    ills = [claim for claim in eye.stated if claim.finding in say.DIAGNOSES]
    if not ills:
        return None
    what = "、".join(name_of(claim.finding, rng) for claim in ills)
    return Sentence(f"{label}{what}。", tuple(claim.fact for claim in ills), True)
