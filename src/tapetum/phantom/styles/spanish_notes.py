"""A Spanish clinic's record with headings and one paragraph an eye: OD and OI, short impersonal sentences.

Source: our own wording. Differs: Spanish; the parser's Spanish rules were tuned on this author.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Report, Sentence, running
from tapetum.phantom.words_spanish import POOR, enumerated, illnesses, name_of, plural

__all__ = ["spanish_notes"]

_STATED = (("Se observa {}.", "Se observan {}."), ("Presenta {}.", "Presenta {}."), ("Hay {}.", "Hay {}."),
           ("Fondo de ojo con {}.", "Fondo de ojo con {}."))  # fmt: skip
_DENIED = (("No se observa {}.", "No se observan {}."), ("Sin {}.", "Sin {}."), ("No hay {}.", "No hay {}."))
_DOUBTED = ("Posible {}.", "Sospecha de {}.", "No se puede descartar {}.")
_NORMAL = ("Fondo de ojo normal.", "Fondo de ojo sin alteraciones.", "Retina normal.")
_REASONS = ("Revisión anual.", "Disminución de agudeza visual.", "Remitido por su médico de familia.")
_BETWEEN = ("Papila de bordes nítidos.", "Excavación {}.", "E/P {}.")


def spanish_notes(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the record."""
    before = [Sentence(f"{illnesses(visit.patient)}.".capitalize()), Sentence(one_of(rng, _REASONS))]
    values = (f"{v:.1f}".replace(".", ",") for v in rng.choice([0.3, 0.5, 0.6, 0.8, 1.0], 2))
    exam = [Sentence("AV OD {}, OI {}.".format(*values)), Sentence("PIO {}/{} mmHg.".format(*rng.integers(11, 22, 2)))]
    bodies = [_eye(eye, rng) for eye in visit.eyes]
    labels = one_of(rng, ("OD|OI", "Ojo derecho|Ojo izquierdo", "OD|OS")).split("|")
    after: list[Sentence] = []
    if visit.change:
        worse = visit.change == "worse"
        after.append(
            Sentence(
                "Empeoramiento respecto a la visita previa." if worse else "Sin cambios respecto a la visita previa."
            )
        )
    after.append(Sentence(f"Control en {int(rng.choice([3, 6, 12]))} meses."))
    lines = [f"ANTECEDENTES: {running(before)}", f"EXPLORACIÓN: {running(exam)}", "FONDO DE OJO:"]
    lines += [f"{label}: {running(body)}" for label, body in zip(labels, bodies, strict=True) if body]
    lines.append(f"PLAN: {running(after)}")
    return Report("spanish_notes", "\n".join(lines), (*before, *exam, *bodies[0], *bodies[1], *after))


def _eye(eye: EyeClaims, rng: np.random.Generator) -> list[Sentence]:
    body: list[Sentence] = []
    if eye.quality:
        body.append(Sentence(f"{POOR[eye.quality]}.".capitalize(), (eye.fact("low_image_quality"),), True))
    if eye.normal:
        body.append(Sentence(one_of(rng, _NORMAL), (eye.fact("normal_fundus"),), True))
    for claims in (eye.stated[:3], eye.stated[3:]):
        body += _framed(_STATED, claims, rng)
    for claim in eye.doubted:
        name = name_of(claim.finding, rng)
        body.append(Sentence(one_of(rng, _DOUBTED).format(name), (claim.fact,), True))
    body += _framed(_DENIED, eye.denied, rng, " ni ")
    if (
        not {"optic_disc_swelling", "optic_disc_cupping"} & {claim.finding for claim in eye.stated}
        and rng.uniform() < 0.5
    ):
        body.append(Sentence(one_of(rng, _BETWEEN).format(f"{eye.ratio:.1f}".replace(".", ",")), (), True))
    return body


def _framed(
    frames: tuple[tuple[str, str], ...], claims: tuple[Claim, ...], rng: np.random.Generator, last: str = " y "
) -> list[Sentence]:
    if not claims:
        return []
    names = [name_of(claim.finding, rng) for claim in claims]
    frame = frames[int(rng.integers(len(frames)))][plural(names)]
    return [Sentence(frame.format(enumerated(names, last)), tuple(claim.fact for claim in claims), True)]
