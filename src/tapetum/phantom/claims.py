"""What there is to say at a visit, before anybody words it: the same claims for every style and language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom import phrases as say
from tapetum.phantom.people import EYES, Patient
from tapetum.phantom.statement import Fact, Seen


@dataclass(frozen=True)
class Claim:
    """One finding of one eye with its status and, where present, its severity in (0, 1]."""

    eye: Laterality
    finding: str
    status: str
    severity: float = 0.0

    @property
    def fact(self) -> Fact:
        """The claim as the truth of a sentence."""
        return Fact(self.eye, self.finding, self.status)


@dataclass(frozen=True)
class EyeClaims:
    """What is said of one eye.

    Attributes:
        stated: present findings, diagnoses first; empty for a normal eye. doubted: uncertain. denied: absent.
        quality: what is wrong with the photograph, `""` where the writer passes over it. ratio: cup to disc.
        normal: whether the eye has no finding at all. clear: all that is absent of what writers like to deny.
    """

    side: Laterality
    stated: tuple[Claim, ...]
    doubted: tuple[Claim, ...]
    denied: tuple[Claim, ...]
    quality: str
    ratio: float
    normal: bool
    clear: tuple[str, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims but the normal fundus and the quality, in the order stated, doubted, denied."""
        return (*self.stated, *self.doubted, *self.denied)

    def fact(self, finding: str) -> Fact:
        """A present finding of this eye."""
        return Fact(self.side, finding, "present")


@dataclass(frozen=True)
class Visit:
    """What a writer knows: the patient, both eyes, and `worse`, `same` or `""` for a first visit."""

    patient: Patient
    right: EyeClaims
    left: EyeClaims
    change: str

    @property
    def eyes(self) -> tuple[EyeClaims, EyeClaims]:
        """Right, then left."""
        return self.right, self.left


def visit_claims(
    patient: Patient, eyes: Sequence[Seen], rng: np.random.Generator, *, noise: float, omission: float, change: str
) -> Visit:
    """Choose what the report of a visit says; arguments as for `reports.write_report`."""
    right, left = (_of_eye(seen, side, rng, noise, omission) for seen, side in zip(eyes, EYES, strict=True))
    return Visit(patient, right, left, change)


def one_of(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def written(findings: Mapping[str, float]) -> list[str]:
    """The findings worth writing: diagnoses first, implied ones only where nothing more particular says them."""
    implied = {*say.IMPLIED, "normal_fundus"}
    if "branch_retinal_vein_occlusion" in findings:
        implied |= {"flame_haemorrhage", "dot_blot_haemorrhage"}
    names = [name for name in findings if name not in implied]
    return sorted(names, key=lambda n: (say.DIAGNOSES.index(n) if n in say.DIAGNOSES else 99, n))


def _of_eye(seen: Seen, side: Laterality, rng: np.random.Generator, noise: float, omission: float) -> EyeClaims:
    stated: list[Claim] = []
    doubted: list[Claim] = []
    for name in written(seen.findings):
        severity, draws = seen.findings[name], rng.uniform(size=2)
        if draws[0] < omission:
            continue
        unsure = name in say.HEDGED and severity < 0.35 and draws[1] < 0.5
        (doubted if unsure else stated).append(Claim(side, name, "uncertain" if unsure else "present", severity))
    absent = [name for name in say.DENIED if name not in seen.findings]
    denied = [Claim(side, str(n), "absent") for n in rng.permutation(absent)[: int(rng.integers(0, 4))]]
    open_ = [n for n in absent if n in say.HEDGED and n not in {claim.finding for claim in denied}]
    if open_ and stated and rng.uniform() < noise / 3:
        doubted.append(Claim(side, one_of(rng, open_), "uncertain"))
    quality = seen.eye.quality if seen.eye.quality != "good" and rng.uniform() < 0.6 else ""
    clear = tuple(n for n in absent if n not in {claim.finding for claim in doubted})
    normal = set(seen.findings) == {"normal_fundus"}
    return EyeClaims(side, tuple(stated), tuple(doubted), tuple(denied), quality, seen.eye.cup_ratio, normal, clear)
