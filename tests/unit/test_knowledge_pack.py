from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.knowledge import findings, load_pack, prompts
from tapetum.knowledge.pack import parse_pack
from tapetum.knowledge.page import pack_page

ROOT = Path(__file__).resolve().parents[2]
PACK = load_pack("fundus")

RELIED_ON = [
    "normal_fundus",
    "diabetic_retinopathy",
    "mild_npdr",
    "moderate_npdr",
    "severe_npdr",
    "proliferative_dr",
    "microaneurysm",
    "retinal_haemorrhage",
    "dot_blot_haemorrhage",
    "flame_haemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "neovascularisation",
    "laser_scar",
    "glaucoma",
    "glaucoma_suspect",
    "optic_disc_cupping",
    "optic_disc_swelling",
    "optic_atrophy",
    "cataract",
    "media_opacity",
    "lens_dust",
    "age_related_macular_degeneration",
    "dry_amd",
    "wet_amd",
    "drusen",
    "geographic_atrophy",
    "hypertensive_retinopathy",
    "pathological_myopia",
    "myopic_crescent",
    "epiretinal_membrane",
    "macular_hole",
    "maculopathy",
    "myelinated_nerve_fibres",
    "vitreous_degeneration",
    "branch_retinal_vein_occlusion",
    "central_retinal_vein_occlusion",
    "central_retinal_artery_occlusion",
    "retinitis_pigmentosa",
    "choroidal_naevus",
    "chorioretinal_atrophy",
    "vessel_tortuosity",
    "retinal_detachment",
]

SMALL = """
name = "toy"
modality = "photo"
[sources]
book = "A book"
[findings.photo]
name = "photograph"
level = "modality"
[findings.abnormal]
name = "abnormal"
level = "status"
parent = "photo"
descriptions = ["one", "two", "three"]
sources = ["book"]
[findings.shelf]
name = "shelf"
level = "group"
parent = "abnormal"
[findings.spot]
name = "spot"
level = "disease"
parent = "shelf"
en = ["speck"]
descriptions = ["one", "two", "three"]
sources = ["book"]
[findings.big_spot]
name = "big spot"
level = "grade"
parent = "spot"
descriptions = ["one", "two", "three"]
sources = ["book"]
"""


@pytest.mark.parametrize("name", RELIED_ON)
def test_ids_that_other_rooms_rely_on_exist(name: str) -> None:
    assert PACK.finding(name).id == name


def test_the_pack_is_large_enough_and_speaks_three_languages() -> None:
    diseases = [f for f in findings("fundus") if f.level in {"disease", "grade", "sign"}]
    assert len(diseases) >= 45
    assert all(len(set(f.descriptions)) >= 3 and f.sources for f in diseases)
    assert sum("es" in f.synonyms and "zh" in f.synonyms for f in diseases) >= 45


def test_no_description_is_used_twice() -> None:
    every = [d for f in findings("fundus") for d in f.descriptions]
    assert len(every) == len(set(every))


def test_tree() -> None:
    assert PACK.ancestors("mild_npdr") == (
        "nonproliferative_dr",
        "diabetic_retinopathy",
        "retinal_vascular_disease",
        "abnormal_fundus",
        "fundus",
    )
    assert PACK.children("diabetic_retinopathy") == ("nonproliferative_dr", "proliferative_dr")
    assert set(PACK.descendants("diabetic_retinopathy")) == {
        "nonproliferative_dr",
        "mild_npdr",
        "moderate_npdr",
        "severe_npdr",
        "proliferative_dr",
    }
    assert PACK.descendants("drusen") == ()
    order = list(PACK.findings)
    assert all(order.index(f.parent) < order.index(f.id) for f in PACK.findings.values() if f.parent)


def test_closure_goes_up_and_not_sideways() -> None:
    assert PACK.closure(["flame_haemorrhage"]) == {
        "flame_haemorrhage",
        "retinal_haemorrhage",
        "retinal_signs",
        "abnormal_fundus",
        "fundus",
    }
    assert "glaucoma" not in PACK.closure(["glaucoma_suspect", "optic_disc_cupping"])
    assert "age_related_macular_degeneration" not in PACK.closure(["drusen"])
    assert "abnormal_fundus" not in PACK.closure(["lens_dust", "normal_fundus", "raised_intraocular_pressure"])
    assert PACK.closure([]) == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NPDR", "nonproliferative_dr"),
        ("moderate non proliferative retinopathy", "moderate_npdr"),
        ("Moderate Non-Proliferative Retinopathy", "moderate_npdr"),
        ("myelinated nerve fibers", "myelinated_nerve_fibres"),
        ("Macular edema", "macular_oedema"),
        ("cotton wool spots", "cotton_wool_spot"),
        ("choroidal nevus", "choroidal_naevus"),
        ("macular epiretinal membrane", "epiretinal_membrane"),
        ("refractive media opacity", "media_opacity"),
        ("suspected glaucoma", "glaucoma_suspect"),
        ("糖尿病视网膜病变", "diabetic_retinopathy"),
        ("Retinopatía diabética", "diabetic_retinopathy"),
        ("wet_amd", "wet_amd"),
        ("dr", "diabetic_retinopathy"),
    ],
)
def test_resolve(text: str, expected: str) -> None:
    assert PACK.resolve(text) == expected


def test_every_english_term_resolves_to_its_finding() -> None:
    for finding in PACK.findings.values():
        assert {PACK.resolve(term) for term in finding.terms(("en",))} == {finding.id}
        # "RD" is retinal detachment in English and diabetic retinopathy in Spanish: English wins.
        assert {PACK.resolve(term) for term in finding.terms() if term != "RD"} == {finding.id}


def test_resolve_refuses_and_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="macular hole"):
        PACK.resolve("macular whole")
    with pytest.raises(UsageError, match="no finding is called ''"):
        PACK.resolve("")
    with pytest.raises(UsageError, match="drusen"):
        PACK.ancestors("druse")


def test_unknown_pack() -> None:
    with pytest.raises(UsageError, match="fundus"):
        load_pack("fundos")


def test_prompt_sets() -> None:
    assert prompts(PACK, "macular_hole") == ("macular hole", "full-thickness macular hole")
    assert prompts(PACK, "proliferative_dr", prompt_set="grades") == ("proliferative diabetic retinopathy",)
    grades = prompts(PACK, "diabetic_retinopathy", prompt_set="grades")
    assert grades[0] == "diabetic retinopathy"
    assert "mild non-proliferative diabetic retinopathy" in grades
    described = prompts(PACK, "cataract", prompt_set="descriptions")
    assert set(PACK.findings["cataract"].descriptions) < set(described)
    assert described[0] == "cataract"
    with pytest.raises(UsageError, match="'grades'"):
        prompts(PACK, "cataract", prompt_set="grade")
    with pytest.raises(UsageError, match="'cataract'"):
        prompts(PACK, "catarakt")


def test_a_small_pack_loads() -> None:
    assert parse_pack(SMALL).closure(["big_spot"]) == {"big_spot", "spot", "shelf", "abnormal", "photo"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('parent = "spot"', 'parent = "sport"', r"big_spot has the unknown parent 'sport'"),
        ('parent = "shelf"', 'parent = "big_spot"', r"cycle of parents"),
        ('name = "big spot"', 'name = "speck"', r"'speck' names both spot and big_spot"),
        ('en = ["speck"]', 'en = ["big-spots"]\nvariants = ["Big  Spot"]', r"names both spot and big_spot"),
        ('en = ["speck"]', 'en = ["  "]', r"spot has an empty term"),
        ('en = ["speck"]', 'synonym = ["speck"]', r"unknown key 'synonym' in spot"),
        ('level = "grade"', 'level = "stage"', r"big_spot has no name or a wrong level 'stage'"),
        (
            'level = "grade"\nparent = "spot"',
            'level = "grade"\nparent = "shelf"',
            r"big_spot is a grade below the group",
        ),
        ('level = "group"\nparent = "abnormal"', 'level = "modality"', r"shelf is a second modality"),
        ('descriptions = ["one", "two", "three"]', 'descriptions = ["one", "two", "two"]', r"2 different descriptions"),
        ('sources = ["book"]', 'sources = ["bok"]', r"unknown source 'bok'"),
        ('sources = ["book"]', "sources = []", r"names no source"),
        ('modality = "photo"', 'modality = "film"', r"'film' is no finding of level modality"),
        ('name = "toy"', "", r"has no name"),
        ("[sources]", "[sources", r"is not TOML"),
    ],
)
def test_a_broken_pack_is_refused(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(DataError, match=message):
        parse_pack(SMALL.replace(old, new))


def test_the_committed_page_is_the_packs_own() -> None:
    assert (ROOT / "docs/reference/fundus-pack.md").read_text(encoding="utf-8") == pack_page(PACK)


def test_the_guides_example_pack_loads() -> None:
    guide = (ROOT / "docs/how-to/write-a-domain-pack.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert block is not None
    assert parse_pack(block.group(1).replace("\n   ", "\n")).resolve("broken bones") == "fracture"


def test_importing_knowledge_imports_no_torch() -> None:
    code = "import sys, tapetum.knowledge; print('torch' in sys.modules, 'transformers' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
