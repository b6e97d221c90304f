"""How clinicians word things: for every finding a few names, for every style its frames. All sentences are our own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Finding → (written out, as keyword, abbreviated).
NAMES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "normal_fundus": ("normal fundus", "normal fundus", "NAD"),
        "mild_npdr": ("mild non-proliferative diabetic retinopathy", "mild NPDR", "mild NPDR"),
        "moderate_npdr": ("moderate non-proliferative diabetic retinopathy", "moderate NPDR", "mod NPDR"),
        "severe_npdr": ("severe non-proliferative diabetic retinopathy", "severe NPDR", "sev NPDR"),
        "proliferative_dr": ("proliferative diabetic retinopathy", "proliferative DR", "PDR"),
        "microaneurysm": ("microaneurysms", "microaneurysm", "MAs"),
        "dot_blot_haemorrhage": ("dot and blot haemorrhages", "dot-blot haemorrhage", "DBH"),
        "flame_haemorrhage": ("flame-shaped haemorrhages", "flame haemorrhage", "flame haem"),
        "retinal_haemorrhage": ("retinal haemorrhages", "retinal haemorrhage", "haem"),
        "hard_exudate": ("hard exudates", "hard exudate", "HE"),
        "cotton_wool_spot": ("cotton wool spots", "cotton wool spot", "CWS"),
        "neovascularisation": ("neovascularisation", "neovascularisation", "NV"),
        "laser_scar": ("laser scars", "laser scars", "PRP scars"),
        "drusen": ("drusen", "drusen", "drusen"),
        "dry_amd": ("dry age-related macular degeneration", "dry AMD", "dry AMD"),
        "age_related_macular_degeneration": ("age-related macular degeneration", "AMD", "AMD"),
        "geographic_atrophy": ("geographic atrophy", "geographic atrophy", "GA"),
        "glaucoma": ("glaucoma", "glaucoma", "glaucoma"),
        "glaucoma_suspect": ("a glaucoma suspect disc", "glaucoma suspect", "glaucoma suspect"),
        "optic_disc_cupping": ("an enlarged optic cup", "optic disc cupping", "cupping"),
        "optic_disc_swelling": ("optic disc swelling", "optic disc swelling", "disc swelling"),
        "optic_atrophy": ("optic atrophy", "optic atrophy", "optic atrophy"),
        "hypertensive_retinopathy": ("hypertensive retinopathy", "hypertensive retinopathy", "HTN retinopathy"),
        "arteriolar_narrowing": ("arteriolar narrowing", "arteriolar narrowing", "narrow arterioles"),
        "pathological_myopia": ("pathological myopia", "pathological myopia", "path myopia"),
        "myopic_crescent": ("a myopic crescent", "myopic crescent", "myopic crescent"),
        "chorioretinal_atrophy": ("patches of chorioretinal atrophy", "chorioretinal atrophy", "CR atrophy"),
        "cataract": ("a hazy view through cataract", "cataract", "cataract"),
        "branch_retinal_vein_occlusion": ("branch retinal vein occlusion", "branch retinal vein occlusion", "BRVO"),
        "epiretinal_membrane": ("an epiretinal membrane", "epiretinal membrane", "ERM"),
        "macular_hole": ("a macular hole", "macular hole", "mac hole"),
        "retinitis_pigmentosa": ("retinitis pigmentosa", "retinitis pigmentosa", "RP"),
        "myelinated_nerve_fibres": ("myelinated nerve fibres", "myelinated nerve fibres", "MNF"),
        "choroidal_naevus": ("a choroidal naevus", "choroidal naevus", "naevus"),
        "vessel_tortuosity": ("tortuous vessels", "vessel tortuosity", "tortuous vessels"),
        "diabetic_retinopathy": ("diabetic retinopathy", "diabetic retinopathy", "DR"),
    }
)
# Diagnoses come first in a report; the signs behind them follow.
DIAGNOSES = (
    "proliferative_dr", "severe_npdr", "moderate_npdr", "mild_npdr", "hypertensive_retinopathy",
    "branch_retinal_vein_occlusion", "dry_amd", "glaucoma", "glaucoma_suspect", "pathological_myopia", "cataract",
    "retinitis_pigmentosa", "macular_hole", "epiretinal_membrane", "optic_disc_swelling", "optic_atrophy",
)  # fmt: skip
# Findings that follow from one already written; nobody writes them again.
IMPLIED = ("diabetic_retinopathy", "age_related_macular_degeneration", "retinal_haemorrhage")
# What clinicians say is not there.
DENIED = (
    "diabetic_retinopathy", "neovascularisation", "drusen", "retinal_haemorrhage", "hard_exudate", "cotton_wool_spot",
    "optic_disc_swelling", "epiretinal_membrane", "macular_hole", "microaneurysm",
)  # fmt: skip
# Findings that a cautious reader hedges when they are slight.
HEDGED = ("epiretinal_membrane", "drusen", "optic_disc_swelling", "glaucoma", "microaneurysm", "optic_atrophy")

EYE_WORDS = (("Right eye", "Left eye"), ("OD", "OS"), ("RE", "LE"), ("R/E", "L/E"))
PRESENT = ("There is {}.", "Fundus shows {}.", "{} seen.", "{} noted.", "Examination reveals {}.")
ABSENT = ("No {}.", "There is no evidence of {}.", "No sign of {}.", "{} not seen.", "Without {}.")
UNSURE = ("Possible {}.", "Findings suspicious for {}.", "Cannot exclude {}.", "Questionable {}.")
NORMAL = (
    "Normal fundus.",
    "Fundus within normal limits.",
    "Unremarkable fundus.",
    "Normal fundus, disc and macula healthy.",
)
RATIO = ("Vertical cup-to-disc ratio {:.1f}.", "C/D {:.1f}.", "CDR {:.1f}.")
GRADED = ("dot_blot_haemorrhage", "flame_haemorrhage", "hard_exudate", "cotton_wool_spot", "drusen", "microaneurysm")
MANY = ("a few {}", "several {}", "numerous {}")
DISC_NORMAL = ("Optic disc pink with sharp margins.", "Disc margins well defined.", "Healthy neuroretinal rim.")

COMPLAINTS = (
    "Complains of gradual blurring of vision.",
    "No complaints.",
    "Reports occasional floaters.",
    "Difficulty with reading.",
    "Routine screening visit.",
    "Referred by the family doctor.",
)
VISION = ("Best corrected acuity 6/{} and 6/{}.", "BCVA 6/{} right, 6/{} left.", "Vision 6/{} and 6/{} with glasses.")
PRESSURE = ("IOP {} and {} mmHg.", "Intraocular pressure {} / {} mmHg by applanation.")
ADVICE = (
    "Review in {} months.",
    "Advised follow-up in {} months.",
    "Findings explained, return in {} months.",
    "Continue present treatment and return in {} months.",
)
BOILERPLATE = (
    "Image taken after dilation with tropicamide 1%.",
    "Report valid only together with the clinical examination.",
    "Non-mydriatic 45 degree photograph of each eye.",
    "Please correlate clinically.",
    "This is a screening report.",
)
HISTORY = {
    (True, True): ("Known diabetes and hypertension.", "T2DM, HTN on tablets."),
    (True, False): ("Type 2 diabetes for {} years.", "Known diabetic, {} years."),
    (False, True): ("Hypertension under treatment.", "Known hypertensive."),
    (False, False): ("No systemic illness.", "Medical history unremarkable."),
}
WORSE, SAME = "Worse than at the previous visit.", "Unchanged since the previous visit."
POOR = {
    "blur": "Image slightly out of focus.",
    "dark": "Image underexposed.",
    "haze": "Hazy image, details limited.",
    "off_centre": "Image not well centred.",
}
