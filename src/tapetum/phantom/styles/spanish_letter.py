"""A Spanish letter in running prose: the eye in words, before the findings or behind them, both eyes taken together.

Source: our own wording. Differs: Spanish; never used to tune the parser.
"""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Fact, Report, Sentence, running
from tapetum.phantom.words_spanish import POOR, enumerated, illnesses, name_of, plural

__all__ = ["spanish_letter"]

_SIDE = {Laterality.RIGHT: "derecho", Laterality.LEFT: "izquierdo"}
_STATED = (
    "En el ojo {side} destaca la presencia de {what}.",
    "El fondo del ojo {side} muestra {what}.",
    "Encontramos {what} en el ojo {side}.",
    "La retinografía del ojo {side} revela {what}.",
)
_DENIED = (
    "En el ojo {side} no se evidencian {what}.",
    "Ausencia de {what} en el ojo {side}.",
    "El ojo {side} no presenta {what}.",
    "No existen signos de {what} en el ojo {side}.",
)
_DOUBTED = (
    "No es posible excluir {what} en el ojo {side}.",
    "Hallazgos compatibles con probable {what} en el ojo {side}.",
    "En el ojo {side} existe duda de {what}.",
)
_NORMAL = ("El fondo del ojo {side} es normal.", "El ojo {side} no muestra alteraciones en el fondo de ojo.")


def spanish_letter(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the letter."""
    patient = visit.patient
    woman = patient.sex == "F"
    history = illnesses(patient)
    opening = [
        Sentence(f"Estimado compañero: he visto en consulta a {'esta' if woman else 'este'} paciente de "
                 f"{patient.age_years} años, {history if history.startswith('sin') else 'con ' + history}."),
        Sentence("La agudeza visual es de {} en el ojo derecho y de {} en el izquierdo.".format(
            *(f"{v:.1f}".replace(".", ",") for v in rng.choice([0.4, 0.6, 0.8, 1.0], 2)))),
    ]  # fmt: skip
    body = _both(visit, rng)
    said = {fact.finding for sentence in body for fact in sentence.facts}
    for eye in visit.eyes:
        body += _eye(eye, said, rng)
    closing: list[Sentence] = []
    if visit.change:
        worse = visit.change == "worse"
        closing.append(
            Sentence("Respecto a la revisión anterior ha empeorado." if worse else "El cuadro permanece estable.")
        )
    closing.append(Sentence(f"Le he citado de nuevo dentro de {int(rng.choice([4, 6, 12]))} meses."))
    closing.append(Sentence(one_of(rng, ("Conviene un buen control metabólico.", "Quedo a su disposición."))))
    text = "\n".join((running(opening), running(body), running(closing), "Un cordial saludo."))
    return Report("spanish_letter", text, (*opening, *body, *closing))


def _both(visit: Visit, rng: np.random.Generator) -> list[Sentence]:
    if visit.right.normal and visit.left.normal:
        words = ("El fondo de ojo es normal en ambos ojos.", "Ambos ojos presentan un fondo de ojo normal.")
        return [Sentence(one_of(rng, words), (Fact(Laterality.BOTH, "normal_fundus", "present"),), True)]
    left = {claim.finding for claim in visit.left.stated}
    shared = [claim.finding for claim in visit.right.stated if claim.finding in left]
    if not shared or rng.uniform() < 0.4:
        return []
    words = ("En ambos ojos se aprecia {}.", "De forma bilateral encontramos {}.", "Ambos ojos muestran {}.")
    what = enumerated([name_of(name, rng, full=False) for name in shared])
    facts = tuple(Fact(Laterality.BOTH, name, "present") for name in shared)
    return [Sentence(one_of(rng, words).format(what), facts, True)]


def _eye(eye: EyeClaims, said: set[str], rng: np.random.Generator) -> list[Sentence]:
    side = _SIDE[eye.side]
    body: list[Sentence] = []
    if eye.quality:
        body.append(
            Sentence(
                f"La exploración del ojo {side} es limitada ({POOR[eye.quality]}).",
                (eye.fact("low_image_quality"),),
                True,
            )
        )
    if eye.normal and "normal_fundus" not in said:
        body.append(Sentence(one_of(rng, _NORMAL).format(side=side), (eye.fact("normal_fundus"),), True))
    stated = [claim for claim in eye.stated if claim.finding not in said]
    for claims, frames, last in (
        (stated, _STATED, " y "),
        (eye.doubted, _DOUBTED, " o "),
        (eye.denied, _DENIED, " ni "),
    ):
        body += _framed(frames, side, claims, rng, last)
    return body


def _framed(
    frames: tuple[str, ...], side: str, claims: tuple[Claim, ...] | list[Claim], rng: np.random.Generator, last: str
) -> list[Sentence]:
    if not claims:
        return []
    frame = one_of(rng, frames)
    names = [name_of(claim.finding, rng, full=False) for claim in claims]
    what = enumerated(names, " o " if "Ausencia" in frame else last)
    text = frame.format(side=side, what=what)
    if not plural(names):
        text = text.replace("no se evidencian", "no se evidencia")
    return [Sentence(text, tuple(claim.fact for claim in claims), True)]
