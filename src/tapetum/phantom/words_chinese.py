"""Findings in Chinese (simplified), for the Chinese authors in `styles`. All sentences are our own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from tapetum.phantom.claims import one_of

# Finding → names of equal meaning, the usual one first.
NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mild_npdr": ("轻度非增殖性糖尿病视网膜病变", "轻度NPDR", "轻度非增生性糖尿病视网膜病变"),
        "moderate_npdr": ("中度非增殖性糖尿病视网膜病变", "中度NPDR", "中度非增生性糖尿病视网膜病变"),
        "severe_npdr": ("重度非增殖性糖尿病视网膜病变", "重度NPDR", "重度非增生性糖尿病视网膜病变"),
        "proliferative_dr": ("增殖性糖尿病视网膜病变", "PDR", "增生性糖尿病视网膜病变"),
        "diabetic_retinopathy": ("糖尿病视网膜病变", "糖尿病性视网膜病变"),
        "microaneurysm": ("微血管瘤", "视网膜微血管瘤"),
        "dot_blot_haemorrhage": ("点片状出血", "点状出血"),
        "flame_haemorrhage": ("火焰状出血",),
        "retinal_haemorrhage": ("视网膜出血", "出血"),
        "hard_exudate": ("硬性渗出", "硬性渗出物"),
        "cotton_wool_spot": ("棉绒斑", "棉絮斑", "软性渗出"),
        "neovascularisation": ("新生血管", "视网膜新生血管"),
        "laser_scar": ("激光斑", "陈旧性激光斑"),
        "drusen": ("玻璃膜疣",),
        "dry_amd": ("干性年龄相关性黄斑变性", "干性老年性黄斑变性", "干性AMD"),
        "geographic_atrophy": ("地图样萎缩", "地图状萎缩"),
        "glaucoma": ("青光眼",),
        "glaucoma_suspect": ("可疑青光眼", "疑似青光眼"),
        "optic_disc_cupping": ("视杯扩大", "杯盘比增大"),
        "optic_disc_swelling": ("视盘水肿", "视乳头水肿"),
        "optic_atrophy": ("视神经萎缩",),
        "hypertensive_retinopathy": ("高血压性视网膜病变", "高血压视网膜病变"),
        "arteriolar_narrowing": ("动脉变细", "视网膜动脉变细"),
        "pathological_myopia": ("病理性近视",),
        "myopic_crescent": ("近视弧形斑", "近视弧"),
        "chorioretinal_atrophy": ("脉络膜视网膜萎缩", "脉络膜视网膜萎缩灶"),
        "cataract": ("白内障", "晶状体混浊"),
        "branch_retinal_vein_occlusion": ("视网膜分支静脉阻塞", "BRVO"),
        "epiretinal_membrane": ("黄斑前膜", "视网膜前膜"),
        "macular_hole": ("黄斑裂孔",),
        "retinitis_pigmentosa": ("视网膜色素变性",),
        "myelinated_nerve_fibres": ("有髓神经纤维", "有髓鞘神经纤维"),
        "choroidal_naevus": ("脉络膜痣",),
        "vessel_tortuosity": ("血管迂曲", "视网膜血管迂曲"),
    }
)
POOR: Mapping[str, str] = MappingProxyType(
    {"blur": "图像模糊", "dark": "图像质量差", "haze": "图像模糊", "off_centre": "图像质量不佳"}
)


def name_of(finding: str, rng: np.random.Generator) -> str:
    """A finding in words."""
    return NAMES[finding][0] if rng.uniform() < 0.6 else one_of(rng, NAMES[finding])
