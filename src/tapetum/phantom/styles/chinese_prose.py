"""A Chinese outpatient note in one paragraph: what both eyes share first, then right and left, parted by semicolons.

Source: our own wording. Differs: Chinese; never used to tune the parser.
"""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Fact, Report, Sentence, enumerated, running
from tapetum.phantom.words_chinese import POOR, name_of

__all__ = ["chinese_prose"]

_SIDE = {Laterality.RIGHT: "右眼", Laterality.LEFT: "左眼"}
_MANY = ("少许", "散在", "大量")
_COUNTED = ("microaneurysm", "dot_blot_haemorrhage", "hard_exudate", "drusen", "cotton_wool_spot", "flame_haemorrhage")


def chinese_prose(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the note."""
    patient = visit.patient
    ills = "，".join(
        word for word, ill in (("有糖尿病史", patient.diabetes), ("有高血压史", patient.hypertension)) if ill
    )
    opening = [Sentence(f"患者{'女' if patient.sex == 'F' else '男'}，{patient.age_years}岁，{ills or '既往体健'}。")]
    opening.append(Sentence(one_of(rng, ("双眼散瞳后行眼底照相检查。", "因视物模糊就诊。", "常规体检。"))))
    body = _both(visit, rng)
    said = {fact.finding for sentence in body for fact in sentence.facts}
    told = [sentence for eye in visit.eyes if (sentence := _eye(eye, said, rng))]
    # Right and left stand in one sentence, parted by a semicolon.
    body += [Sentence(s.text + ("。" if s is told[-1] else "；"), s.facts, s.visible) for s in told]
    closing = [Sentence(one_of(rng, ("定期随访。", "请结合临床。", "必要时行FFA检查。")))]
    if visit.change:
        closing.insert(0, Sentence("与上次相比病情进展。" if visit.change == "worse" else "与上次相比变化不大。"))
    text = running((*opening, *body, *closing), "")
    return Report("chinese_prose", text, (*opening, *body, *closing))


def _both(visit: Visit, rng: np.random.Generator) -> list[Sentence]:
    if visit.right.normal and visit.left.normal:
        words = ("双眼眼底未见明显异常。", "双眼眼底大致正常。")
        return [Sentence(one_of(rng, words), (Fact(Laterality.BOTH, "normal_fundus", "present"),), True)]
    left = {claim.finding for claim in visit.left.stated}
    shared = [claim for claim in visit.right.stated if claim.finding in left]
    if not shared or rng.uniform() < 0.4:
        return []
    facts = tuple(Fact(Laterality.BOTH, claim.finding, "present") for claim in shared)
    what = enumerated((_spoken(claim, rng) for claim in shared), "及", "、")
    return [Sentence(one_of(rng, ("双眼均可见{}。", "双眼眼底示{}。", "双眼存在{}。")).format(what), facts, True)]


def _eye(eye: EyeClaims, said: set[str], rng: np.random.Generator) -> Sentence | None:
    """All about one eye in one sentence."""
    parts: list[str] = []
    facts: list[Fact] = []
    if eye.quality:
        parts.append(POOR[eye.quality])
        facts.append(eye.fact("low_image_quality"))
    if eye.normal and "normal_fundus" not in said:
        parts.append("眼底未见异常")
        facts.append(eye.fact("normal_fundus"))
    stated = [claim for claim in eye.stated if claim.finding not in said]
    groups = (
        (stated, ("可见{}", "眼底见{}", "眼底示{}")),
        (eye.doubted, ("考虑{}可能", "不能排除{}", "似有{}")),
        (eye.denied, ("未发现{}", "未见{}", "无明显{}")),
    )
    for claims, frames in groups:
        if claims:
            last = "或" if claims[0].status == "absent" else "及"
            what = enumerated((_spoken(claim, rng) for claim in claims), last, "、")
            parts.append(one_of(rng, frames).format(what))
            facts += [claim.fact for claim in claims]
    if not parts:
        return None
    return Sentence(f"{_SIDE[eye.side]}{'，'.join(parts)}", tuple(facts), True)


def _spoken(claim: Claim, rng: np.random.Generator) -> str:
    name = name_of(claim.finding, rng)
    if claim.status == "present" and claim.finding in _COUNTED and rng.uniform() < 0.4:
        return _MANY[min(2, int(claim.severity * 3))] + name
    return name
