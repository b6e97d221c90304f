"""Names of findings that clinicians use and that no pack lists, and slips of the keyboard.

Written before the parser was tuned, and checked by a test against every pack: no entry is a pack's term, nor does it
hold one of the same finding. Do not add these words to a pack: a parser is measured on them as unseen vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

# Finding → (clipped, as in quick notes; in full, as in prose).
UNSEEN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "normal_fundus": (
            ("fundal exam NAD", "retina WNL", "fundus OK"),
            ("healthy looking retina", "fundal appearances within normal limits", "nothing abnormal at the fundus"),
        ),
        "mild_npdr": (
            ("mild nonprolif DR", "mild non-prolif diab retinopathy"),
            ("non-proliferative diabetic retinopathy of mild degree", "slight nonproliferative diabetic retinopathy"),
        ),
        "moderate_npdr": (
            ("mod nonprolif DR", "moderate non-prolif diab retinopathy"),
            ("non-proliferative diabetic retinopathy of moderate degree", "moderate nonproliferative diabetic disease"),
        ),
        "severe_npdr": (
            ("sev nonprolif DR", "pre-prolif DR"),
            ("non-proliferative diabetic retinopathy of severe degree", "pre-proliferative changes of diabetes"),
        ),
        "proliferative_dr": (
            ("prolif DR", "prolif diab retinopathy"),
            ("diabetic retinopathy in the proliferative stage", "proliferating diabetic retinopathy"),
        ),
        "diabetic_retinopathy": (
            ("diab retinopathy", "diabetic retinop"),
            ("retinopathy due to diabetes", "retinopathy of diabetes"),
        ),
        "microaneurysm": (
            ("microaneur", "m/aneurysms"),
            ("aneurysmal dots", "microaneurysmal changes", "capillary aneurysms"),
        ),
        "dot_blot_haemorrhage": (
            ("dot/blots", "D&B haems"),
            (
                "punctate and blotchy haemorrhages",
                "dot-shaped and blot-shaped haemorrhages",
                "rounded blot-like haemorrhages",
            ),
        ),
        "flame_haemorrhage": (
            ("flame bleeds", "flame h'ages"),
            ("flame-like haemorrhages", "streak-shaped haemorrhages", "haemorrhages of flame shape"),
        ),
        "retinal_haemorrhage": (
            ("ret haem's", "retinal h'ages"),
            ("bleeding within the retina", "haemorrhaging of the retina", "blood in the retina"),
        ),
        "hard_exudate": (
            ("hard exs", "lipid exs"),
            ("hard yellow deposits", "lipid deposition", "waxy lipid"),
        ),
        "cotton_wool_spot": (
            ("CW spots", "soft exs"),
            ("woolly spots", "fluffy white spots", "nerve fibre layer infarctions"),
        ),
        "neovascularisation": (
            ("neovasc", "neovasc'n"),
            ("newly formed vessels", "neovascular fronds", "proliferation of new capillaries"),
        ),
        "laser_scar": (
            ("lasered", "photocoag scars"),
            ("scarring from laser", "old lasered areas", "scars of photocoagulation"),
        ),
        "drusen": (
            ("drusenoid changes", "drus."),
            ("drusenoid spots", "drusenoid lesions"),
        ),
        "dry_amd": (
            ("dry mac degen", "dry macular degen"),
            ("macular degeneration of the dry type", "dry form of age-related macular disease"),
        ),
        "geographic_atrophy": (
            ("geogr atrophy", "geog. atrophy"),
            ("geographical atrophy", "atrophy of geographic type"),
        ),
        "glaucoma": (
            ("glauc", "glaucomatous ONH"),
            ("glaucomatous neuropathy", "glaucomatous nerve head", "glaucomatous excavation"),
        ),
        "glaucoma_suspect": (
            ("glauc suspect", "susp. disc"),
            ("a suspicious looking disc", "a suspicious nerve head"),
        ),
        "optic_disc_cupping": (
            ("cupped ONH", "CDR up"),
            ("an excavated disc", "a wide cup", "excavation of the nerve head"),
        ),
        "optic_disc_swelling": (
            ("swollen ONH", "disc oedem"),
            ("an oedematous disc", "a swollen nerve head", "blurring of the optic disc edges"),
        ),
        "optic_atrophy": (
            ("ON atrophy", "atrophic ONH"),
            ("an atrophied optic nerve", "an atrophic nerve head"),
        ),
        "hypertensive_retinopathy": (
            ("hypert retinopathy", "HTN retinop"),
            ("retinopathy due to hypertension", "retinopathy of hypertension"),
        ),
        "arteriolar_narrowing": (
            ("art narrowing", "narrowed a'oles"),
            ("thinned arterioles", "thinning of the arteries", "constricted arterioles"),
        ),
        "pathological_myopia": (
            ("pathol myopia", "degen myopia"),
            ("myopia of degenerative type", "malignant myopia"),
        ),
        "myopic_crescent": (
            ("myopic cresc", "temp cresc"),
            ("a crescent of myopia", "a crescent-shaped myopic change", "a crescentic myopic change"),
        ),
        "chorioretinal_atrophy": (
            ("chorioret atrophy", "CRA patches"),
            ("atrophic chorioretinal patches", "atrophy of choroid and retina"),
        ),
        "cataract": (
            ("cat", "lens opac"),
            ("an opacified lens", "lens clouding", "a cloudy lens"),
        ),
        "branch_retinal_vein_occlusion": (
            ("branch RVO", "BVO"),
            ("an occluded branch vein", "branch vein thrombosis", "occlusion of a branch of the retinal vein"),
        ),
        "epiretinal_membrane": (
            ("epiret membrane", "epiretinal memb"),
            ("macular puckering", "a membrane on the retinal surface", "a preretinal membrane"),
        ),
        "macular_hole": (
            ("mac hle", "foveal hole"),
            ("a hole at the fovea", "a hole of the macula", "a full-thickness foveal defect"),
        ),
        "retinitis_pigmentosa": (
            ("ret pigmentosa", "retinitis pigm"),
            ("retinopathia pigmentosa", "pigmentary retinopathy", "pigmentary dystrophy of the retina"),
        ),
        "myelinated_nerve_fibres": (
            ("myel fibres", "myelinated NF"),
            ("medullated fibres", "myelination of nerve fibres", "nerve fibres with myelin"),
        ),
        "choroidal_naevus": (
            ("chor naevus", "choroidal nev"),
            ("a pigmented naevus of choroid", "a naevoid choroidal lesion"),
        ),
        "vessel_tortuosity": (
            ("tort vessels", "tortuous vv"),
            ("vessels with a tortuous course", "twisted vessels"),
        ),
        "low_image_quality": (
            ("bad photo", "poor pic"),
            ("an unsharp photograph", "a poorly focused photograph", "photograph of insufficient quality"),
        ),
    }
)
# Neighbours on an English keyboard.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = {letter: "".join(row[max(0, i - 1) : i] + row[i + 1 : i + 2]) for row in _ROWS for i, letter in enumerate(row)}


def mistyped(word: str, rng: np.random.Generator) -> str:
    """One slip of the keyboard inside a word of at least six letters: a neighbour hit, a letter doubled or dropped.

    Shorter words and the first letter stay, as does anything with a capital inside or a digit.
    """
    kind, place = int(rng.integers(3)), float(rng.uniform())
    if len(word) < 6 or not word.isalpha() or not word.isascii() or word[1:] != word[1:].lower():
        return word
    at = 1 + int(place * (len(word) - 1))
    if kind == 0:
        near = _NEAR[word[at].lower()]
        return word[:at] + near[int(place * 97) % len(near)] + word[at + 1 :]
    return word[:at] + word[at] + word[at:] if kind == 1 else word[:at] + word[at + 1 :]


def typed(text: str, rng: np.random.Generator, share: float) -> str:
    """The text as fast fingers leave it.

    Args:
        text: a sentence.
        rng: of the report.
        share: chance in 0..1 of a slip in each long word.
    """
    return " ".join(_slipped(word, rng) if rng.uniform() < share else word for word in text.split(" "))


def _slipped(token: str, rng: np.random.Generator) -> str:
    body = token.rstrip(".,;:")
    return mistyped(body, rng) + token[len(body) :]
