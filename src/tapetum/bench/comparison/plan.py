"""Which cells a comparison has: every encoder with every way to use it and every number of labels."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from tapetum.bench.models.few_shot import needs_words
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec, nearest
from tapetum.learn.aligner.joint import text_spec
from tapetum.learn.features.embedder import parse_encoders

ZERO_SHOT = "zero_shot"
ALL = 0
ADAPTERS, TUNERS = Family("tapetum.learn.adapters"), Family("tapetum.learn.tuners")


@dataclass(frozen=True)
class CompareConfig:
    """What is compared.

    Args:
        encoders: image towers separated by commas, each possibly several joined by `+`; the first is what the others
            are compared with.
        modes: ways to use an encoder, separated by commas: `zero_shot` (no label: in the space that a published
            image-text model shares with its own texts, else aligned with the reports), members of
            `learn/adapters` (features stay frozen) and of `learn/tuners` (the network is trained).
        shots: images with, and as many without, each finding, separated by commas; `all` = every labelled patient.
        runs: draws of the shots, and seeds where a network is trained; the same draws for every encoder and mode.
        findings: what is detected; every label name of the archive if empty.
        tuning: options of `TuneConfig` that every tuner gets alike, as in `"epochs=3, batch=32"`: an equal budget.
        text_encoder, task: as for `pretrain`, where a mode needs words.
        test_split: `test` or `val`. draws: of the patient-cluster bootstrap. copies, unequal_budgets: see
            `BenchConfig`.
        seed: of every random choice. threads: 0 = all cores. check_colours: see `PretrainConfig`.
    """

    encoders: str = (
        "efficientnet_lite(size=224), efficientnet_lite(size=224) + efficientnet_lite(size=224, view='local_contrast')"
    )
    modes: str = "zero_shot, knn, linear_probe"
    shots: str = "1, 5, 10, all"
    runs: int = 3
    findings: tuple[str, ...] = ()
    tuning: str = ""
    text_encoder: str = "minilm"
    task: str = "ridge"
    test_split: str = "test"
    draws: int = 2000
    copies: str = "refuse_equal"
    unequal_budgets: bool = False
    seed: int = 0
    threads: int = 0
    check_colours: bool = True


@dataclass(frozen=True)
class Cell:
    """One method at one price.

    Attributes:
        encoder: canonical spec. mode: canonical spec. shots: per finding, 0 = all labels; -1 = reports, no label.
        words: the text tower of the encoder's own checkpoint, with which it shares a space; empty = learned by reports.
    """

    encoder: str
    mode: str
    shots: int
    words: str = ""

    @property
    def supervision(self) -> str:
        """What the cell learned from, in words."""
        if self.shots < 0:
            return "published space" if self.words else "report-supervised"
        labels = "all labels" if self.shots == ALL else f"{self.shots} shot{'s' if self.shots > 1 else ''}"
        return f"{'published' if self.words else 'reports'} + {labels}" if needs_anchors(self.mode) else labels

    def __str__(self) -> str:
        return f"{self.encoder} · {self.mode} · {self.supervision}"


def cells_of(config: CompareConfig) -> tuple[Cell, ...]:
    """Every cell, encoder by encoder.

    Raises:
        UsageError: an unknown encoder, mode or number of shots, or one named twice.

    Example:
        >>> [str(cell) for cell in cells_of(CompareConfig("tiny()", "zero_shot, knn(k=5)", "1, all"))]
        ['tiny() · zero_shot · report-supervised', 'tiny() · knn(k=5) · 1 shot', 'tiny() · knn(k=5) · all labels']
    """
    if config.runs < 1:
        raise UsageError(f"runs={config.runs}", "at least 1", "runs=3")
    encoders = [" + ".join(map(str, parse_encoders(part))) for part in _parts(config.encoders, "encoders")]
    modes = [_mode(part) for part in _parts(config.modes, "modes")]
    shots = [_shots(part.strip()) for part in config.shots.split(",")]
    for name, listed in (("encoders", encoders), ("modes", modes), ("shots", shots)):
        if len(set(listed)) < len(listed):
            raise UsageError(f"{name}: one stands twice in {', '.join(map(str, listed))}", "each once")
    words = {encoder: text_spec(encoder, config.text_encoder) for encoder in encoders}
    return tuple(
        Cell(encoder, mode, number, words[encoder])
        for encoder in encoders
        for mode in modes
        for number in ([-1] if mode == ZERO_SHOT else shots)
    )


def is_tuner(mode: str) -> bool:
    """Whether a mode trains the network itself."""
    return Spec.parse(mode).name in TUNERS.names()


def needs_anchors(mode: str) -> bool:
    """Whether a mode needs to know what the findings are called, that is, a model aligned with reports."""
    return mode != ZERO_SHOT and not is_tuner(mode) and needs_words(mode)


def _mode(text: str) -> str:
    spec = Spec.parse(text)
    if spec.name == ZERO_SHOT and not spec.options:
        return ZERO_SHOT
    family = TUNERS if spec.name in TUNERS.names() else ADAPTERS
    known = {ZERO_SHOT, *ADAPTERS.names(), *TUNERS.names()}
    if spec.name not in known:
        raise UsageError(
            f"unknown mode {spec.name!r}", nearest(spec.name, sorted(known)), "modes=zero_shot,linear_probe"
        )
    family.build(spec)
    return str(spec) if spec.options else spec.name


def _shots(text: str) -> int:
    if text == "all":
        return ALL
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"shots={text!r}", "numbers from 1 on, or all, separated by commas", "shots=1,5,10,all")
    return int(text)


def _parts(text: str, name: str) -> list[str]:
    """What stands between the commas that are outside brackets."""
    try:
        node = ast.parse(f"({text.strip().rstrip(',')},)", mode="eval").body
    except (SyntaxError, ValueError):
        raise UsageError(f"cannot read {name}={text!r}", "methods separated by commas", "tapetum list") from None
    parts = [ast.unparse(part) for part in node.elts] if isinstance(node, ast.Tuple) else []
    if not parts:
        raise UsageError(f"{name}={text!r} names nothing", "at least one", "tapetum list")
    return parts
