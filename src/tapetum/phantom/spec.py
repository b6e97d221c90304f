"""What an eye is like, before anybody photographs it: the input of the renderer, checked once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, nearest
from tapetum.core.types import Laterality

SIGNS = Family("tapetum.phantom.signs")
# Signs that change the shape of something normal; all others are painted by a member of the family.
ANATOMICAL = ("arteriolar_narrowing", "optic_atrophy", "optic_disc_cupping", "vessel_tortuosity")
QUALITIES = ("good", "blur", "dark", "haze", "off_centre")
MARKERS = ("none", "corner", "cast")


@functools.cache
def sign_names() -> tuple[str, ...]:
    """All signs that the phantom can show, sorted."""
    return tuple(sorted((*SIGNS.names(), *ANATOMICAL)))


@functools.cache
def painter(name: str) -> Callable[..., None]:
    """The family's member that paints the sign `name`."""
    return SIGNS.member(name)


@dataclass(frozen=True)
class EyeSpec:
    """One eye on one day and the camera in front of it.

    Args:
        laterality: `RIGHT` or `LEFT`.
        identity: what stays from visit to visit: vessels, texture and the places where lesions appear.
        signs: finding id → severity in (0, 1].
        age_years: 0 to 120; old lenses look yellow, young retinas shine.
        pigment: 0 = fair fundus, 1 = dark fundus.
        cup_disc_ratio: vertical cup to disc ratio without disease, 0.05 to 0.9.
        camera: a style of `tapetum.phantom.camera`.
        quality: `good`, `blur`, `dark`, `haze` or `off_centre`.
        marker: `corner` (a bright mark beside the field) or `cast` (a tint), planted as a shortcut; or `none`.

    Raises:
        UsageError: a value outside its range or an unknown name.

    Example:
        >>> EyeSpec(Laterality.RIGHT, identity=1, signs={"drusen": 0.6}).cup_ratio
        0.35
    """

    laterality: Laterality
    identity: int
    signs: Mapping[str, float] = field(default_factory=dict[str, float])
    age_years: float = 55.0
    pigment: float = 0.5
    cup_disc_ratio: float = 0.35
    camera: str = "cam_a"
    quality: str = "good"
    marker: str = "none"

    def __post_init__(self) -> None:
        if self.laterality not in (Laterality.RIGHT, Laterality.LEFT):
            raise UsageError(f"laterality {self.laterality!r} of an eye", "Laterality.RIGHT or Laterality.LEFT")
        for name, severity in self.signs.items():
            if name not in sign_names():
                raise UsageError(f"unknown sign {name!r}", nearest(name, sign_names()))
            if not 0 < severity <= 1:
                raise UsageError(f"severity {severity} of {name}", "above 0, at most 1; leave absent signs out")
        ranges = {"age_years": (0, 120), "pigment": (0, 1), "cup_disc_ratio": (0.05, 0.9)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name}={getattr(self, name)}", f"{low} to {high}")
        for name, known in (("quality", QUALITIES), ("marker", MARKERS)):
            if getattr(self, name) not in known:
                raise UsageError(f"unknown {name} {getattr(self, name)!r}", nearest(getattr(self, name), known))

    @property
    def cup_ratio(self) -> float:
        """Vertical cup to disc ratio, disease included: cupping of severity 0 starts at 0.6, severity 1 is 0.92."""
        cupping = self.signs.get("optic_disc_cupping", 0.0)
        return max(self.cup_disc_ratio, 0.6 + 0.32 * cupping) if cupping else self.cup_disc_ratio

    @property
    def artery_scale(self) -> float:
        """Width of arteries relative to a healthy eye, 0.55 to 1."""
        return 1.0 - 0.45 * self.signs.get("arteriolar_narrowing", 0.0)
