"""Findings in the shorthand of clinics and in plain words: names, denial, doubt and eyes. All sentences are our own."""

from __future__ import annotations

import pytest

from tapetum.knowledge import load_pack, parse_report
from tapetum.knowledge.described import Described
from tapetum.knowledge.phrases import Hit, words

PACK = load_pack("fundus")
NAMES = {
    "normal_fundus": "retina unremarkable;healthy back of the eye;fundus free of disease;DMV normal",
    "mild_npdr": "mild diab ret;early background change;mild retinal changes due to diabetes",
    "moderate_npdr": "mod DM retinopathy;moderate damage to the retina from diabetes",
    "severe_npdr": "preproliferative changes;severe diabetic ret;marked background diabetic retinopathy",
    "proliferative_dr": "prolif diab ret;diabetic retinopathy in the proliferative stage",
    "microaneurysm": "tiny red dots;small outpouchings of the capillaries;ballooned capillaries",
    "dot_blot_haemorrhage": "dots & blots;small round spots of blood;bleeding in the deep layers of the retina",
    "flame_haemorrhage": "streaks of blood;NFL haems;bleeding along the nerve fibres",
    "retinal_haemorrhage": "blood within the retina;leakage of blood into the retina;retinal bleeds",
    "hard_exudate": "leakage of fat into the retina;yellow waxy deposits;intraretinal lipid",
    "cotton_wool_spot": "fluffy white patches;CW spots;small infarcts of the nerve fibre layer",
    "neovascularisation": "sprouting of new blood vessels;new vx;abnormal vessel growth",
    "laser_scar": "marks left by laser treatment;s/p PRP;old laser",
    "drusen": "yellow deposits beneath the retina;pale subretinal deposits;deposits of waste under the RPE",
    "dry_amd": "dry mac degen;age-related degeneration of the macula without leakage",
    "age_related_macular_degeneration": "age-related mac degen;wear and tear of the macula",
    "geographic_atrophy": "map-like loss of the retinal pigment epithelium;areas of RPE loss",
    "glaucoma": "OAG;damage to the optic nerve from glaucoma;glaucomatous ON",
    "glaucoma_suspect": "suspicious CDR;glauc susp;disc that raises suspicion of glaucoma",
    "optic_disc_cupping": "enlarged excavation of the optic nerve head;inc C:D;hollowed-out optic disc",
    "optic_disc_swelling": "puffy optic nerve head;ill-defined disc margins;ONH oedema",
    "optic_atrophy": "wasting of the optic nerve;shrunken optic nerve;ON atrophy",
    "hypertensive_retinopathy": "HTN ret gr 2;damage to the retina from high blood pressure",
    "arteriolar_narrowing": "attenuated vx;reduced calibre of the arterioles;thread-like arteries",
    "pathological_myopia": "HM with degen;damage to the retina from extreme short-sightedness",
    "myopic_crescent": "temp crescent;pale crescent beside the optic disc",
    "chorioretinal_atrophy": "C/R atrophy;thinning of the retina and choroid",
    "cataract": "NS;clouding of the crystalline lens;PSCC;lens is cloudy",
    "branch_retinal_vein_occlusion": "blocked branch of the retinal vein;BVO;clot in a retinal vein branch",
    "epiretinal_membrane": "mac pucker;thin film over the macula;wrinkling of the retinal surface",
    "macular_hole": "gap in the centre of the macula;mac hole;full-thickness defect of the fovea",
    "retinitis_pigmentosa": "ret pig;bone spicules;hereditary degeneration of the rods and cones",
    "myelinated_nerve_fibres": "nerve fibres covered with myelin;med nerve fibres",
    "choroidal_naevus": "mole at the back of the eye;choroidal freckle;pigmented naevus",
    "vessel_tortuosity": "tort vx;vessels follow a winding course;twisted blood vessels",
    "diabetic_retinopathy": "DMR;retinal damage from diabetes;disease of the retina caused by diabetes",
}
CASES = [(text, finding) for finding, texts in NAMES.items() for text in texts.split(";")]
ABSENT = (
    "nil drusen", "drusen -ve", "-ve drusen", "drusen 0", "0 drusen", "drusen neg", "neg for drusen", "drusen (-ve)",
    "nothing to suggest drusen", "drusen could not be made out", "no hint of drusen", "drusen are missing",
    "drusen are nowhere to be seen", "spared of drusen", "drusen n/s", "nil e/o drusen",
)  # fmt: skip
UNCERTAIN = (
    "?drusen", "poss drusen", "drusen prob", "susp drusen", "s/o drusen", "can't r/o drusen", "drusen +/-", "± drusen",
    "perhaps drusen", "drusen may be present", "drusen should be considered", "drusen are conceivable",
    "not sure about drusen", "drusen can not be entirely excluded", "drusen remain in doubt", "dubious drusen",
)  # fmt: skip
EYES = {
    "R drusen": "OD", "Rt drusen": "OD", "drusen R": "OD", "lt drusen": "OS", "no drusen L": "OS", "B/L drusen": "OU",
    "R and L: drusen": "OU", "RE + LE: drusen": "OU", "R/L: drusen": "OU", "bilat drusen": "OU",
}  # fmt: skip


@pytest.mark.parametrize(("text", "finding"), CASES)
def test_a_finding_by_its_description(text: str, finding: str):
    for whole, status in ((f"Right eye: {text}.", "present"), (f"Left eye, {text}", "present")):
        assert {(m.finding, m.status) for m in parse_report(whole, PACK).mentions} == {(finding, status)}


@pytest.mark.parametrize("text", [text for text, finding in CASES if finding != "normal_fundus"])
def test_a_description_can_be_denied_and_doubted(text: str):
    assert {m.status for m in parse_report(f"There is no evidence of {text}.", PACK).mentions} == {"absent"}
    assert {m.status for m in parse_report(f"RE: possible {text}", PACK).mentions} == {"uncertain"}


@pytest.mark.parametrize("text", ABSENT)
def test_denied(text: str):
    assert [(m.finding, m.status) for m in parse_report(f"R: {text}", PACK).mentions] == [("drusen", "absent")]


@pytest.mark.parametrize("text", UNCERTAIN)
def test_doubted(text: str):
    assert [(m.finding, m.status) for m in parse_report(f"R: {text}", PACK).mentions] == [("drusen", "uncertain")]


@pytest.mark.parametrize("text", EYES)
def test_eyes_in_shorthand(text: str):
    assert {m.laterality.value for m in parse_report(text, PACK).mentions} == {EYES[text]}


def test_a_doubt_does_not_reach_past_its_own_finding():
    mentions = parse_report("RE: drusen ?ERM nil MAs ?NV", PACK).mentions
    assert [(m.finding, m.status) for m in mentions] == [
        ("drusen", "present"),
        ("epiretinal_membrane", "uncertain"),
        ("microaneurysm", "absent"),
        ("neovascularisation", "uncertain"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Vitamin C, R. Smith.",
        "Nothing further was arranged.",
        "The left ventricle is enlarged.",
        "Yellow card given, return in 3 months.",
        "Deposits were paid at the desk.",
        "Cup to disc ratio 0.4.",
        "Uses a magnifying lens.",
        "The retina and the choroid are attached.",
    ],
)
def test_plain_words_are_no_findings(text: str):
    assert not parse_report(text, PACK, language="en").mentions


def test_the_longest_choice_of_a_pattern_is_found():
    patterns = Described([("(pale|yellow|) (spot|deposit) (under|beneath) the retina", "drusen"), ("spot", "mark")])
    found = words("A yellow deposit beneath retina, spots under the lens")
    assert patterns.find(found) == [Hit(1, 5, "drusen"), Hit(6, 7, "mark")]
    assert patterns.find(found) == patterns.find(found)
    assert patterns.find(words("yellow lens")) == []
