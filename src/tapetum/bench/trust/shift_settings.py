"""Methods for domain shift under short names, and the settings that each is tried with, as many for each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec, nearest
from tapetum.learn.classifying.pictures import MODES
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.train import asks_domains

METHODS = Family("tapetum.learn.methods")
ERM, OWN = "erm", "@own"
# Short name → spec of `learn/methods`; {strength} is what is tried, times the number beside it. The numbers were chosen
# on the phantom (seed 0 of recipes/mechanisms/shift.py, which measures on another).
NAMED: Mapping[str, tuple[str, float]] = {
    ERM: ("one_stage()", 1.0),
    "erm_hidden": ("one_stage(head='hidden(units=64)')", 1.0),
    "coral": ("one_stage(head='hidden(units=64)', invariance='coral(weight={strength})')", 1.0),
    "coral_within": (
        "one_stage(head='hidden(units=64)', invariance=\"coral(weight={strength}, within='class')\")",
        1.0,
    ),
    "dann": ("dann(weight={strength})", 0.3),
    "distance_correlation": (
        "one_stage(head='hidden(units=64)', invariance='distance_correlation(weight={strength})')",
        1.0,
    ),
    "domain_mixup": ("one_stage(mixing='domain_mixup(alpha={strength})')", 0.2),
    "domain_standardised": ("domain_standardised(strength={strength})", 1.0),
    "ema": ("one_stage(ema=0.99)", 1.0),
    "evened_domains": ("evened_domains()", 1.0),
    "fishr": ("one_stage(invariance='fishr(weight={strength})')", 100.0),
    "gdrnet": ("gdr_net(contrast={strength})", 0.25),
    "group_dro": ("group_dro(step={strength})", 0.01),
    "hsic": ("one_stage(head='hidden(units=64)', invariance='hsic(weight={strength})')", 10.0),
    "irm": ("one_stage(invariance='irm(weight={strength})')", 10.0),
    "latent_domains": ("latent_domains(weight={strength})", 1.0),
    "mixstyle": ("mix_style(alpha={strength})", 0.1),
    "mixstyle_crossdomain": ("mix_style(alpha={strength}, mix='crossdomain')", 0.1),
    "mixup": ("one_stage(mixing='mixup(alpha={strength})')", 0.2),
    "mmd": ("one_stage(head='hidden(units=64)', invariance='mmd(weight={strength})')", 1.0),
    "nuisance_projection": ("nuisance_projection(weight={strength})", 10.0),
    "recoloured": ("recoloured(ridge={strength})", 1.0),
    "restyled": ("restyled(weight={strength})", 0.3),
    "sagnet": ("sag_net(weight={strength})", 0.1),
    "swad": ("swad()", 1.0),
    "vrex": ("one_stage(invariance='vrex(weight={strength})')", 10.0),
}


@dataclass(frozen=True)
class Grid:
    """What every method is tried with.

    Args:
        rates: learning rates. strengths: of the method's own option. decays: weight decays, for methods without one.
        epochs: passes over the training rows. batch: rows per step. offset_rate: see `Pace`. mode: of `MODES`.
    """

    rates: tuple[float, ...]
    strengths: tuple[float, ...]
    decays: tuple[float, ...]
    epochs: int
    batch: int
    offset_rate: float = 30.0
    mode: str = "frozen"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"mode={self.mode!r}", " or ".join(MODES))
        if not self.rates or not self.strengths or len(self.strengths) != len(self.decays):
            raise UsageError(
                f"{len(self.rates)} rates, {len(self.strengths)} strengths, {len(self.decays)} decays",
                "one rate or more, and as many strengths as decays: every method is tried with as many settings",
            )


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Attributes:
        spec: canonical, of `learn/methods`. pace: how long and how fast.
        own: features are standardised by the mean and spread of their own domain, the tested one's by its images.
    """

    spec: str
    pace: Pace
    own: bool = False

    def __str__(self) -> str:
        return (
            f"{self.spec}{OWN if self.own else ''}, rate {self.pace.learning_rate:g}, decay {self.pace.weight_decay:g}"
        )


def settings_of(name: str, grid: Grid) -> tuple[Setting, ...]:
    """All settings of a method, the mildest first, so that it wins where nothing speaks for another.

    Args:
        name: of `NAMED`, or a spec of `learn/methods`, where `{strength}` is filled in; with `@own` see `Setting`.
        grid: what is tried.

    Raises:
        UsageError: an unknown method or option, or one that the mode is not for.
    """
    plain = name.removesuffix(OWN)
    template, scale = NAMED.get(plain, (plain, 1.0))
    own = "{strength}" in template
    decay = sorted(grid.decays)[len(grid.decays) // 2]
    found: list[Setting] = []
    for tried, rate in itertools.product(sorted(grid.strengths if own else grid.decays), sorted(grid.rates)):
        spec = template.replace("{strength}", repr(float(f"{tried * scale:.6g}")))
        pace = Pace(grid.epochs, grid.batch, rate, decay if own else tried, grid.offset_rate)
        found.append(Setting(str(_checked(spec)), pace, plain != name))
    _refuse_mode(name, found[0], grid.mode)
    return tuple(found)


def needs_domains(setting: Setting) -> bool:
    """Whether a method has nothing to do where there is one domain only."""
    spec = Spec.parse(setting.spec)
    if "domains" in _needs(spec.name) or spec.options.get("invariance"):
        return True
    return asks_domains(str(spec.options.get("mixing", ""))) or spec.options.get("mix") == "crossdomain"


def _needs(name: str) -> tuple[str, ...]:
    return getattr(METHODS.member(name), "NEEDS", ())


def _refuse_mode(name: str, setting: Setting, mode: str) -> None:
    """Raises:
    UsageError: the method needs pictures and there are features, or the other way round.
    """
    needs = _needs(Spec.parse(setting.spec).name)
    if mode == "frozen" and "pictures" in needs:
        raise UsageError(f"{name} on frozen features", "pictures that a tower learns from", "mode=finetune")
    if mode == "finetune" and (setting.own or "features" in needs):
        raise UsageError(f"{name} with a tower that learns", "frozen features", "mode=frozen")


def reads_target(setting: Setting) -> bool:
    """Whether a method looks at the tested images, though not at their labels."""
    return setting.own or bool(getattr(METHODS.member(Spec.parse(setting.spec).name), "TRANSDUCTIVE", False))


def _checked(text: str) -> Spec:
    """The spec, once it and the specs inside it can be built.

    Raises:
        UsageError: an unknown name or option, with the nearest one.
    """
    spec = Spec.parse(text)
    if spec.name not in METHODS.names():
        known = [*NAMED, *METHODS.names()]
        raise UsageError(
            f"unknown method {spec.name!r}", nearest(spec.name, known), "a spec of learn/methods, or a name"
        )
    METHODS.build(spec)
    for option, family in (("invariance", "learn.invariance"), ("mixing", "learn.mixing"), ("head", "nets.heads")):
        if spec.options.get(option):
            Family(f"tapetum.{family}").build(str(spec.options[option]))
    return spec


def told(names: Sequence[str], grid: Grid) -> str:
    """The budget, for the foot of the table."""
    each = len(grid.rates) * len(grid.strengths)
    return (
        f"each of {len(names)} methods is tried with {each} settings: learning rates {_list(grid.rates)}; strengths "
        f"{_list(grid.strengths)}, or, of a method without one, weight decays {_list(grid.decays)}; "
        f"{grid.epochs} epochs, batch {grid.batch}, offsets {grid.offset_rate:g} times as fast; {grid.mode}"
    )


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in values)
