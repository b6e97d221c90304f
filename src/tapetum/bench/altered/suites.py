"""Which corruptions images of which kind may meet."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, nearest
from tapetum.core.types import UNKNOWN

CORRUPTIONS = Family("tapetum.bench.corruptions")
GENERIC = "generic"
SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        GENERIC: (
            "defocus", "motion", "noise", "jpeg", "pixelate", "dark", "overexposed", "low_contrast", "rotation",
            "off_centre",
        ),
        "fundus": (
            "defocus", "motion", "haze", "dark", "overexposed", "uneven", "vignetting", "cast", "dust", "lashes",
            "off_centre", "noise", "jpeg",
        ),
        "oct": ("speckle", "shadow", "bands", "low_contrast", "defocus", "pixelate", "jpeg"),
        "chest_xray": (
            "noise", "impulse", "speckle", "defocus", "low_contrast", "gamma", "lettering", "rotation", "off_centre",
            "pixelate", "jpeg",
        ),
        "dermatoscopy": (
            "hair", "ink", "lettering", "vignetting", "cast", "dark", "overexposed", "low_contrast", "defocus",
            "motion", "noise", "pixelate", "jpeg",
        ),
        "pathology": ("stain", "defocus", "motion", "dark", "overexposed", "low_contrast", "pixelate", "jpeg"),
        "microscopy": (
            "cast", "defocus", "motion", "dark", "overexposed", "low_contrast", "noise", "pixelate", "jpeg",
        ),
        "ultrasound": ("speckle", "shadow", "low_contrast", "gamma", "lettering", "motion", "pixelate", "jpeg"),
        "mr": ("noise", "uneven", "low_contrast", "gamma", "motion", "rotation", "off_centre", "jpeg"),
    }
)  # fmt: skip
"""By modality, after the sets of MedMNIST-C (arXiv 2406.17536): its retina, OCT, chest, skin, tissue, blood and breast
sets, less their weaker twins (brightness, contrast and gamma each in one direction or in both), plus what the
instrument or the clinic adds: haze, lids, dust and framing of a fundus camera, shadows and slips of a scan, hair and
pen marks on skin, another laboratory's stain, a badly laid patient. MR is our own choice."""
ALIASES: Mapping[str, str] = MappingProxyType(
    {"cxr": "chest_xray", "xray": "chest_xray", "dermoscopy": "dermatoscopy", "histology": "pathology", "mri": "mr"}
)


def suite_of(modality: str, chosen: tuple[str, ...] = ()) -> tuple[str, tuple[str, ...]]:
    """The suite of a modality and its members.

    Args:
        modality: as the archive names it; unknown ones have the generic suite.
        chosen: names of corruptions instead.

    Returns:
        Name of the suite, and names of corruptions.

    Raises:
        UsageError: an unknown corruption; the message names the nearest.

    Example:
        >>> suite_of("cxr")[0], suite_of("thermography")[0], suite_of("oct", ("jpeg",))
        ('chest_xray', 'generic', ('chosen', ('jpeg',)))
    """
    known = CORRUPTIONS.names()
    for name in chosen:
        if name not in known:
            raise UsageError(f"unknown corruption {name!r}", nearest(name, known))
    if chosen:
        return "chosen", tuple(dict.fromkeys(chosen))
    name = ALIASES.get(modality, modality)
    name = name if name in SUITES and name != UNKNOWN else GENERIC
    return name, SUITES[name]
