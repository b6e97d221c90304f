"""One or several encoders side by side, ready to run on loose images."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import Spec
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.features.runtime import Runner, core_count
from tapetum.learn.tuning.delta import Delta, attach_delta
from tapetum.nets import Encoder, build_encoder, state_digest

DEFAULT = "efficientnet_lite(size=224) + efficientnet_lite(size=224, view='local_contrast')"


@dataclass(frozen=True)
class TokenMap:
    """Local features of one encoder.

    Attributes:
        block: the block of `Embeddings.blocks` that is the mean of these tokens.
        grid: rows and columns; tokens are listed row by row.
    """

    block: str
    tokens: Float32[np.ndarray, "n t d"]
    grid: tuple[int, int]


class Embedder:
    """One or several encoders, ready to run; their outputs stand side by side.

    Args:
        encoders: specs joined by `+`.
        threads: per encoder call; 0 takes every core of this process.
        backend: `"auto"` (measured once, see `Runner`), or a member of `BACKENDS`.
        cache: folder for exported networks; None exports anew for this object.
        fit: `"pad"` or `"crop"`, see `Preprocess`.
        states: weights of towers that were trained, by their place among the encoders; their rows are cached apart.
        deltas: what tuners learned on towers, by their place; on top of `states` where both are given.

    Attributes:
        encoders: the specs in canonical form. blocks: `"efficientnet_lite-224/avg"` → columns. dim: all columns.

    Raises:
        UsageError: the text is no sum of specs, or a name or option is unknown.
        ArtefactError: a delta of other weights or another preprocessing.
    """

    def __init__(
        self,
        encoders: str = DEFAULT,
        *,
        threads: int = 0,
        backend: str = "auto",
        cache: Path | None = None,
        fit: str = "pad",
        states: Mapping[int, Mapping[str, Tensor]] = MappingProxyType({}),
        deltas: Mapping[int, Delta] = MappingProxyType({}),
    ) -> None:
        specs = parse_encoders(encoders)
        if not {*states, *deltas} <= set(range(len(specs))):
            raise UsageError(f"weights for the encoders {sorted({*states, *deltas})}", f"places 0 to {len(specs) - 1}")
        self.encoders = " + ".join(map(str, specs))
        towers = [_tower(spec, states.get(place)) for place, spec in enumerate(specs)]
        self.preprocess = tuple(
            Preprocess(t.spec.size, t.spec.mean, t.spec.std, fit, t.spec.resample, t.spec.view) for t in towers
        )
        for place, delta in deltas.items():
            attach_delta(towers[place], delta, self.preprocess[place].digest)
        self.runners = tuple(
            Runner(tower, backend=backend, threads=threads or core_count(), cache=cache) for tower in towers
        )
        self.names = _distinct([r.spec.name for r in self.runners])
        ends = list(itertools.accumulate((r.spec.dim for r in self.runners), initial=0))
        self.columns = tuple(itertools.pairwise(ends))
        self.dim = ends[-1]
        self.blocks: Mapping[str, tuple[int, int]] = {
            f"{name}/{block}": (start + a, start + b)
            for name, runner, (start, _) in zip(self.names, self.runners, self.columns, strict=True)
            for block, (a, b) in runner.spec.blocks.items()
        }

    def pixels(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, batch: int = 16) -> Float32[np.ndarray, "n d"]:
        """Pooled features of loose images, one row each."""
        rows = np.empty((len(images), self.dim), dtype=np.float32)
        for start in range(0, len(images), batch):
            chosen = images[start : start + batch]
            for runner, preprocess, (a, b) in zip(self.runners, self.preprocess, self.columns, strict=True):
                rows[start : start + batch, a:b] = runner(np.stack([preprocess(image) for image in chosen]))
        return rows

    def tokens(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> tuple[TokenMap, ...]:
        """Local features of a few loose images, one map per encoder."""
        if not images:
            raise DataError("no images", "at least one")
        return tuple(
            TokenMap(
                f"{name}/{runner.spec.token_block}",
                np.concatenate([runner.tokens(preprocess(image)[None]) for image in images]),
                runner.spec.grid,
            )
            for name, runner, preprocess in zip(self.names, self.runners, self.preprocess, strict=True)
        )


def parse_encoders(text: str) -> tuple[Spec, ...]:
    """Specs of `"a(x=1) + b"`, in the order written.

    Raises:
        UsageError: the text is no sum of specs, or names one spec twice.

    Example:
        >>> [str(s) for s in parse_encoders("tiny(size=32) + tiny")]
        ['tiny(size=32)', 'tiny()']
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise UsageError(f"cannot read the encoders {text!r}", "specs joined by +", DEFAULT) from None
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts.append(node.right)
        node = node.left
    specs = tuple(Spec.parse(ast.unparse(part)) for part in [node, *reversed(parts)])
    names = [str(spec) for spec in specs]
    if len(set(names)) < len(names):
        raise UsageError(f"an encoder stands twice in {text!r}", "each spec once")
    return specs


def _tower(spec: Spec, state: Mapping[str, Tensor] | None) -> Encoder:
    encoder = build_encoder(spec)
    if state is not None:
        try:
            encoder.load_state_dict(dict(state))
        except RuntimeError as error:
            raise ArtefactError(f"the weights do not fit {spec}: {error}", "the weights of that encoder") from None
        digest = state_digest(cast(nn.Module, encoder))
        encoder.spec = dataclasses.replace(encoder.spec, weights_digest=digest)
    return encoder


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with `#2`, `#3` … where one occurs again."""
    seen: dict[str, int] = {}
    result: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(result)
