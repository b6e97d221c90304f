"""The digital phantom: a procedural clinic with known truth. It proves mechanisms, not medicine."""

from __future__ import annotations

from tapetum.phantom.clinic import Clinic, ClinicConfig, make_clinic
from tapetum.phantom.grading import diabetic_grade, diagnose
from tapetum.phantom.render import RenderedEye, render_eye
from tapetum.phantom.sheet import phantom_sheet
from tapetum.phantom.spec import EyeSpec, sign_names

__all__ = [
    "Clinic",
    "ClinicConfig",
    "EyeSpec",
    "RenderedEye",
    "diabetic_grade",
    "diagnose",
    "make_clinic",
    "phantom_sheet",
    "render_eye",
    "sign_names",
]
