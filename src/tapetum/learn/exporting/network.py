"""All of a model between normalised pixels and probabilities as one torch module, ready to be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec
from tapetum.knowledge import load_pack
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.fitting.operate import Operating
from tapetum.learn.model import Model, prompt_vectors
from tapetum.nets import Aligner

OUTPUTS = ("logits", "probabilities", "features")
_TRIED = 16  # random rows that a linear adapter is recognised by
_INSTEAD = "fit a linear one (adapter=logistic), or teach a student that is one: tapetum distil ARCHIVE --model MODEL"


class Network(nn.Module):
    """Towers, what was learned on them, and the calibration.

    Args:
        model: an aligner, or an adapter that is a linear map.
        findings: the columns.
        embedder: the model's towers, in torch.

    Raises:
        UsageError: the adapter is no linear map of its rows, or the calibration is of a kind that is not exported.
    """

    def __init__(self, model: Model, findings: Sequence[str], embedder: Embedder) -> None:
        super().__init__()
        self.towers = nn.ModuleList([cast(nn.Module, runner.encoder) for runner in embedder.runners])
        wordy = model.adapter is None or "anchors" in model.adapter.NEEDS
        self.aligner = model.aligner if wordy else None
        self.head = linear_head(model, findings)
        self.calibration = Calibration(model.operating, findings)

    def forward(self, *images: Float[Tensor, "b 3 _ _"]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, probabilities (NaN where there is no calibration) and pooled features."""
        features = torch.cat([tower(x) for tower, x in zip(self.towers, images, strict=True)], dim=1)
        logits = self.head(self.aligner.encode_image(features) if self.aligner is not None else features)
        return logits, self.calibration(logits), features


class LinearHead(nn.Module):
    """`(sroot(x) − mean) / scale @ weight + bias` in float32, with `sroot(x) = sign(x)·|x|^power`."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        weight: Float[np.ndarray, "d k"],
        bias: Float[np.ndarray, "k"],
        mean: Float[np.ndarray, "d"] | None = None,
        scale: Float[np.ndarray, "d"] | None = None,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        width = len(weight)
        found = {
            "weight": weight, "bias": bias, "mean": np.zeros(width) if mean is None else mean,
            "scale": np.ones(width) if scale is None else scale,
        }  # fmt: skip
        for name, values in found.items():
            self.register_buffer(name, torch.from_numpy(np.array(values, dtype=np.float32)))
        self.power = power

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of rows."""
        rooted = x if self.power == 1 else x.sign() * x.abs().clamp_min(1e-12).pow(self.power)
        return (rooted - self.mean) / self.scale @ self.weight + self.bias


def linear_head(model: Model, findings: Sequence[str]) -> LinearHead:
    """What turns the model's rows into logits, if that is a linear map.

    Raises:
        UsageError: it is none, by name, with what to do; or a column of it is not finite.
    """
    if model.adapter is None:
        pack = load_pack(model.pack) if model.pack else None
        words = prompt_vectors(model, findings, pack, model.prompt_set)
        scale = float(np.exp(model.aligner.logit_log_scale.detach().numpy())) if model.aligner else 1.0
        return LinearHead(words.T * scale, np.zeros(len(findings)))
    state, name = model.adapter.state(), Spec.parse(model.adapter_spec).name
    if not {"weight", "bias"} <= set(state):
        raise UsageError(f"the adapter {name} is no linear map of the features", "one that is", _INSTEAD)
    columns = [model.findings.index(finding) for finding in findings]
    weight, bias = np.asarray(state["weight"]), np.asarray(state["bias"])
    if not (np.isfinite(weight[:, columns]).all() and np.isfinite(bias[columns]).all()):
        lost = [f for f, c in zip(findings, columns, strict=True) if not np.isfinite(bias[c])]
        raise UsageError(f"{name} never learned {', '.join(lost) or 'some findings'}", "finite weights", "findings=…")
    mean, scale = state.get("mean"), state.get("scale")
    head = LinearHead(weight, bias, mean, scale, float(state.get("power", np.array(1.0))))
    _refuse_what_differs(model, head, name)
    return LinearHead(weight[:, columns], bias[columns], mean, scale, head.power)


def _refuse_what_differs(model: Model, head: LinearHead, name: str) -> None:
    """A state with weights may hold more than them (a cache, a network): only what gives the same logits is linear."""
    assert model.adapter is not None
    rng = np.random.default_rng(0)
    rows = head.mean.numpy() + head.scale.numpy() * rng.standard_normal((_TRIED, len(head.mean)))
    rows = (np.sign(rows) * np.abs(rows) ** (1 / head.power)).astype(np.float32)
    if isinstance(model.aligner, Aligner) and "anchors" in model.adapter.NEEDS and model.aligner.normalise:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.asarray(model.adapter(rows), dtype=np.float64)
    learned = np.isfinite(expected).all(0)
    with torch.no_grad():
        found = head(torch.from_numpy(rows)).double().numpy()
    apart = np.abs(found - expected)[:, learned].max(initial=0.0)
    if apart > 1e-3 * max(1.0, float(np.abs(expected[:, learned]).max(initial=0.0))):
        raise UsageError(f"the adapter {name} is no linear map of the features", "one that is", _INSTEAD)


class Calibration(nn.Module):
    """Logits to probabilities, as the model's operating points have them; NaN for a finding that has none."""

    slope: Tensor
    intercept: Tensor

    def __init__(self, operating: Operating | None, findings: Sequence[str]) -> None:
        super().__init__()
        count = len(findings)
        slope, intercept = np.full(count, np.nan), np.full(count, np.nan)
        self.stepped: list[int] = []
        place = {f: j for j, f in enumerate(operating.findings)} if operating else {}
        for column, finding in enumerate(findings):
            if operating is None or finding not in place:
                continue
            state, j = operating.state, place[finding]
            if "slopes" in state:
                slope[column], intercept[column] = state["slopes"][j], state["intercepts"][j]
            elif "temperatures" in state and Spec.parse(operating.calibrator).options.get("mode") != "softmax":
                slope[column], intercept[column] = 1 / state["temperatures"][j], 0.0
            elif "knots" in state:
                knots = state["knots"][state["knots"][:, 0] == j]
                if len(knots):
                    self.stepped.append(column)
                    self.register_buffer(f"x{column}", torch.from_numpy(knots[:, 1].astype(np.float32)))
                    self.register_buffer(f"y{column}", torch.from_numpy(knots[:, 2].astype(np.float32)))
            else:
                raise UsageError(
                    f"the calibration {operating.calibrator} is not exported", "platt, temperature or isotonic",
                    "calibrator=platt when the model is made",
                )  # fmt: skip
        self.register_buffer("slope", torch.from_numpy(slope.astype(np.float32)))
        self.register_buffer("intercept", torch.from_numpy(intercept.astype(np.float32)))

    def forward(self, logits: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Probabilities, 0..1."""
        probs = torch.sigmoid(logits * self.slope + self.intercept)
        if not self.stepped:
            return probs
        columns = [
            self._steps(logits[:, j], j) if j in self.stepped else probs[:, j] for j in range(logits.shape[1])
        ]  # fmt: skip
        return torch.stack(columns, dim=1)

    def _steps(self, logit: Float[Tensor, "b"], column: int) -> Float[Tensor, "b"]:
        """Linear between knots, flat outside: the sum of what each stretch adds."""
        x, y = self.get_buffer(f"x{column}"), self.get_buffer(f"y{column}")
        share = ((logit[:, None] - x[:-1]) / (x[1:] - x[:-1]).clamp_min(1e-12)).clamp(0, 1)
        return y[0] + (share * (y[1:] - y[:-1])).sum(1)
