"""Patch-text heat-maps: which places of an image speak for a finding, as the model scores it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.knowledge import load_pack
from tapetum.learn.adapters import Adapter
from tapetum.learn.features.embedder import Embedder, TokenMap
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.model import Model, prompt_vectors

Judge = Callable[[slice, Float[np.ndarray, "t b"]], Float[np.ndarray, "t"]]


class PatchScores:
    """Heat-maps of several findings with one set of towers; prompts are encoded once.

    A token is one patch as the last layer of an encoder sees it. It is put in the place of the pooled block that is the
    mean of all tokens, every other block stays at its training mean, and the result is scored as an image would be,
    before any scaling to unit length: `standardise(token) · weight · prompt`. So a patch's value says **how much the
    score would move if the whole image looked like this patch**, and no more:

    * It is no segmentation. A token's field of view is much larger than its patch, so that borders mean little.
    * Only differences within one image mean something; zero does not: roots and means are taken of pooled features, and
      single patches vary more than means.
    * Blocks that no token has (maxima, earlier stages) take part in the score, not in the map.

    With `power=1` and one encoder the mean over the map is exactly that block's share of the score. An adapter that
    starts from words is weighed through the aligner that it lies on; one that is not linear there (`clip_adapter`,
    `tip_adapter`) gives each patch its logit of an image that looks like this patch all over. Maps come from the same
    weights as scores, so that a task which trains them on local features (`patch_concept`) makes better maps.

    Args:
        model: with an aligner, or with an adapter that is linear in its features or starts from words.
        findings: what maps will be asked for.
        embedder: the towers of this model, to save building them again.

    Raises:
        UsageError: a finding that the model does not know, or an adapter that neither is linear nor starts from words.

    Source: our own, after the class activation mapping of Zhou et al., CVPR 2016 (weights of the pooled map applied to
    every place of it). Differs: the weights are those of a text prompt; signed root and standardisation are kept.
    """

    def __init__(self, model: Model, findings: Sequence[str], *, embedder: Embedder | None = None) -> None:
        self._standardiser, self._judges = _judges(model, findings)
        self.embedder = embedder or model.embedder()
        if self.embedder.dim != len(self._standardiser.mean):
            read = len(self._standardiser.mean)
            raise UsageError(f"the embedder gives {self.embedder.dim} columns, the model reads {read}", model.encoders)

    def __call__(
        self, pixels: UInt8[np.ndarray, "_ _ 3"], finding: str
    ) -> tuple[Float32[np.ndarray, "g w"], UInt8[np.ndarray, "s s 3"]]:
        """The map of one finding and the square picture it lies on; see `heatmap`."""
        if finding not in self._judges:
            raise UsageError(f"{finding!r} was not asked for", nearest(finding, list(self._judges)))
        maps = [self._map(tokens, self._judges[finding]) for tokens in self.embedder.tokens([pixels])]
        finest = max(maps, key=lambda m: m.size)
        rows, columns = finest.shape
        together = [cv2.resize(m, (columns, rows), interpolation=cv2.INTER_LINEAR) for m in maps]
        # The picture without any local contrast: people compare it with the photograph.
        widest = max(self.embedder.preprocess, key=lambda p: p.size)
        shown = dataclasses.replace(widest, view="plain").resized(pixels)
        return np.asarray(np.mean(together, axis=0), dtype=np.float32), shown

    def _map(self, tokens: TokenMap, judge: Judge) -> Float32[np.ndarray, "g w"]:
        first, last = self.embedder.blocks[tokens.block]
        part = slice(first, last)
        mine = Standardiser(self._standardiser.mean[part], self._standardiser.scale[part], self._standardiser.power)
        return np.asarray(judge(part, mine(tokens.tokens[0])), dtype=np.float32).reshape(tokens.grid)


def heatmap(
    model: Model, pixels: UInt8[np.ndarray, "_ _ 3"], finding: str, *, embedder: Embedder | None = None
) -> tuple[Float32[np.ndarray, "g w"], UInt8[np.ndarray, "s s 3"]]:
    """How much each patch of an image speaks for a finding; no lesion segmentation, see `PatchScores`.

    For research and second-reader support, not a cleared device.

    Args:
        model: with an aligner, or with an adapter that is linear in its features or starts from words.
        pixels: RGB, 8 bit.
        finding: id of the model's pack, plain words for a model without one, or a column of an adapter.
        embedder: the towers of this model, to save building them again.

    Returns:
        One value per patch on the grid of the finest encoder (coarser ones are interpolated, then averaged), in units
        of the score before scaling to unit length, higher = speaks more for the finding, zero without meaning; and the
        square picture that the grid divides evenly.

    Raises:
        UsageError: a finding that the model does not know, or an adapter that neither is linear nor starts from words.
    """
    return PatchScores(model, [finding], embedder=embedder)(pixels, finding)


def _judges(model: Model, findings: Sequence[str]) -> tuple[Standardiser, dict[str, Judge]]:
    """What is done to features, and what is then made of the columns of a block, finding by finding."""
    adapter = model.adapter
    if adapter is None:
        standardiser, weight, _ = _space(model)
        pack = load_pack(model.pack) if model.pack else None
        prompts = prompt_vectors(model, findings, pack, model.prompt_set).T
        return standardiser, _linear(findings, weight @ prompts)
    missing = [name for name in findings if name not in model.findings]
    if missing:
        raise UsageError(f"the adapter was not taught {missing[0]!r}", nearest(missing[0], model.findings))
    columns = [model.findings.index(name) for name in findings]
    if "anchors" in adapter.NEEDS:
        standardiser, weight, bias = _space(model)
        state = adapter.state()
        if "weight" in state and not {"keys", "down"} & set(state):
            return standardiser, _linear(findings, weight @ state["weight"][:, columns])
        return standardiser, {
            name: partial(_as_image, adapter, weight, bias, column)
            for name, column in zip(findings, columns, strict=True)
        }
    weight = getattr(adapter, "weight_", None)
    if weight is None:
        raise UsageError(
            f"{model.adapter_spec} has no weight per feature, so that no patch can be weighed by it",
            "an aligner, linear_probe or prototypes", "tapetum adapt … adapter=linear_probe",
        )  # fmt: skip
    standardiser = getattr(adapter, "standardiser_")  # noqa: B009 - not in the Protocol
    return standardiser, _linear(findings, np.asarray(weight)[:, columns])


def _space(model: Model) -> tuple[Standardiser, Float[np.ndarray, "d e"], Float[np.ndarray, "e"]]:
    """How the aligner takes features into the common space, before any scaling to unit length."""
    if model.aligner is None:
        raise UsageError("the model has neither an aligner nor an adapter", "a model from `tapetum pretrain`")
    state: Mapping[str, np.ndarray] = {k: v.detach().numpy() for k, v in model.aligner.state_dict().items()}
    standardiser = Standardiser(state["image_mean"], state["image_scale"], float(state["power"]))
    return standardiser, state["image_weight"], state["image_bias"]


def _linear(findings: Sequence[str], weights: Float[np.ndarray, "d k"]) -> dict[str, Judge]:
    return {name: partial(_weighed, weight) for name, weight in zip(findings, weights.T, strict=True)}


def _weighed(weight: Float[np.ndarray, "d"], part: slice, rows: Float[np.ndarray, "t b"]) -> Float[np.ndarray, "t"]:
    return rows @ weight[part]


def _as_image(
    adapter: Adapter,
    weight: Float[np.ndarray, "d e"],
    bias: Float[np.ndarray, "e"],
    column: int,
    part: slice,
    rows: Float[np.ndarray, "t b"],
) -> Float[np.ndarray, "t"]:
    """The adapter's own logit of an image that looks like the patch all over."""
    encoded = rows @ weight[part] + bias
    return adapter(encoded / np.maximum(np.linalg.norm(encoded, axis=1, keepdims=True), 1e-12))[:, column]
