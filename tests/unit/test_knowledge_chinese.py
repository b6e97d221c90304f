"""Chinese reports: finding, status, eye and severity by hand."""

from __future__ import annotations

import pytest

from tapetum.knowledge import load_pack, parse_report
from tapetum.knowledge.rules import recognise

PACK = load_pack("fundus")
CASES = {
    "右眼：微血管瘤、硬性渗出，未见新生血管。左眼：眼底未见异常。": [
        "microaneurysm present OD", "hard_exudate present OD", "neovascularisation absent OD",
        "normal_fundus present OS",
    ],
    "双眼未见明显出血、渗出及玻璃膜疣。": [
        "retinal_haemorrhage absent OU", "hard_exudate absent OU", "drusen absent OU",
    ],
    "左眼青光眼待排。": ["glaucoma uncertain OS"],
    "左眼青光眼不除外；右眼视盘水肿": ["glaucoma uncertain OS", "optic_disc_swelling present OD"],
    "右眼未见出血，视盘水肿。": ["retinal_haemorrhage absent OD", "optic_disc_swelling present OD"],
    "印象：双眼中度NPDR，左眼黄斑前膜可能。": ["moderate_npdr present OU", "epiretinal_membrane uncertain OS"],
    "既往史：青光眼。\n眼底检查：左眼黄斑裂孔。": ["glaucoma uncertain unknown", "macular_hole present OS"],
    "右眼玻璃膜疣，对侧眼地图样萎缩。": ["drusen present OD", "geographic_atrophy present OS"],
    "OD白内障，OS正常。": ["cataract present OD", "normal_fundus present OS"],
    "玻璃膜疣无明显变化。": ["drusen present unknown"],
    "新生血管（-）": ["neovascularisation absent unknown"],
    "可疑青光眼": ["glaucoma_suspect present unknown"],
    "右眼出血已吸收。": ["retinal_haemorrhage absent OD"],
}  # fmt: skip


@pytest.mark.parametrize("text", CASES, ids=range(len(CASES)))
def test_chinese_reports(text: str):
    assert recognise(text) == "zh"
    found = [f"{m.finding} {m.status} {m.laterality.value}" for m in parse_report(text, PACK).mentions]
    assert found == CASES[text]


def test_severity():
    mentions = parse_report("右眼轻度视盘水肿，左眼重度白内障。", PACK).mentions
    assert [m.severity for m in mentions] == ["mild", "severe"]


def test_spans_point_into_the_text():
    text = "右眼点片状出血及棉绒斑。"
    assert [text[m.start : m.end] for m in parse_report(text, PACK).mentions] == ["点片状出血", "棉绒斑"]
