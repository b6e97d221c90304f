"""A trained model: frozen towers by name, what was learned on top of them, and its operating points."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save_file

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import Family, nearest
from tapetum.core.store import Meta, new_artefact, plain_json, read_meta
from tapetum.core.types import Embeddings, Predictions
from tapetum.knowledge import Finding, Pack, load_pack, prompts
from tapetum.learn.adapters import Adapter
from tapetum.learn.aligner.joint import JointSpace, joint_aligner, joint_space, towers_in
from tapetum.learn.features.embedder import Embedder, parse_encoders
from tapetum.learn.fitting.operate import Operating
from tapetum.learn.pairing.tree import consistent, tree_of
from tapetum.learn.pairing.words import encode_words
from tapetum.learn.training.together import is_first
from tapetum.learn.tuning.delta import Delta
from tapetum.nets import Aligner, build_text_encoder

INTENDED_USE = "Research and second-reader support. Not a cleared device; not for use without a qualified reader."


@dataclass(frozen=True)
class Model:
    """Frozen towers with an aligner (detects whatever can be named) or an adapter (detects what it was taught).

    Attributes:
        encoders: specs of the image towers, joined by `+`. text_encoder: spec of the text tower.
        aligner: image features and texts in one space; None for an adapter that takes no notice of words.
        adapter: fitted member of `learn/adapters`, `findings` its columns; None for an aligner.
        pack: domain pack of the training archive, `""` for none. prompt_set: which prompts stand for a finding.
        operating: calibration and thresholds, None where there was nothing to choose them on.
        towers: state of image towers that were trained too (`unfreeze`), by their place among the encoders.
        deltas: what tuners learned on image towers, by their place.
        space: of a published image-text model that is used as it is, with its own scale and bias; None where the
            aligner was learned.
        config: the settings of the training run. log: what happened in it. parents: digests it was made from.
    """

    encoders: str
    text_encoder: str
    pack: str = ""
    prompt_set: str = "grades"
    aligner: Aligner | None = None
    adapter_spec: str = ""
    adapter: Adapter | None = None
    findings: tuple[str, ...] = ()
    operating: Operating | None = None
    towers: Mapping[int, Mapping[str, torch.Tensor]] = field(default_factory=dict[int, Mapping[str, torch.Tensor]])
    deltas: Mapping[int, Delta] = field(default_factory=dict[int, Delta])
    space: JointSpace | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    log: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parents: Mapping[str, str] = field(default_factory=dict[str, str])
    path: Path | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides a score: weights, specs, prompts, operating points."""
        whole = hashlib.sha256(json.dumps(self._describe(), sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            whole.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    def embedder(self, *, threads: int = 0, cache: Path | None = None) -> Embedder:
        """The image towers, ready to run, with the weights of this model."""
        return Embedder(self.encoders, threads=threads, cache=cache, states=self.towers, deltas=self.deltas)

    def encode_text(self, texts: Sequence[str]) -> Float[np.ndarray, "k e"]:
        """Texts in the common space, unit length.

        Raises:
            UsageError: the model is an adapter and knows no words.
        """
        aligner = self._need_aligner()
        with torch.no_grad():
            return aligner.encode_text(torch.from_numpy(encode_words(self.text_encoder, texts))).numpy()

    def encode_image(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """Image features in the common space, unit length."""
        aligner = self._need_aligner()
        with torch.no_grad():
            return aligner.encode_image(torch.from_numpy(np.asarray(features, dtype=np.float32))).numpy()

    def save(self, out: Path) -> Path:
        """Write the checkpoint: `model.safetensors`, `config.json`, `preprocessor_config.json`, model card.

        Of several processes that `torchrun` started, the first one writes.
        """
        if not is_first():
            return out
        meta = Meta("checkpoint", parents=dict(self.parents), config=dict(self.config), seed=self.config.get("seed"))
        with new_artefact(out, meta) as folder:
            save_file({k: np.asarray(v, order="C") for k, v in self._arrays().items()}, folder / "model.safetensors")
            whole = {**self._describe(), "digest": self.digest, "log": self.log, "training": dict(self.config)}
            _write_json(folder / "config.json", whole)
            preprocess = [p.as_dict() for p in self.embedder().preprocess]
            _write_json(folder / "preprocessor_config.json", {"towers": preprocess})
            (folder / "README.md").write_text(_card(self), encoding="utf-8")
        return out

    def _need_aligner(self) -> Aligner:
        if self.aligner is None:
            raise UsageError(
                "this model is an adapter and knows no words", "a model from `tapetum pretrain`", "tapetum pretrain"
            )
        return self.aligner

    def _describe(self) -> dict[str, Any]:
        return {
            "encoders": self.encoders,
            "text_encoder": self.text_encoder,
            "pack": self.pack,
            "prompt_set": self.prompt_set,
            "adapter": self.adapter_spec,
            "findings": list(self.findings),
            "operating": self.operating.as_dict() if self.operating else None,
            "normalise": bool(self.aligner.normalise) if self.aligner else None,
            "towers": sorted(self.towers),
            # only where there are some: digests of models saved before there were any stay what they were
            **({"deltas": {str(i): delta.about() for i, delta in sorted(self.deltas.items())}} if self.deltas else {}),
            **({"space": dataclasses.asdict(self.space)} if self.space else {}),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        if self.aligner is not None:
            arrays |= {f"aligner.{k}": v.detach().numpy() for k, v in self.aligner.state_dict().items()}
        if self.adapter is not None:
            arrays |= {f"adapter.{k}": v for k, v in self.adapter.state().items()}
        for place, state in self.towers.items():
            arrays |= {f"tower.{place}.{k}": v.detach().cpu().numpy() for k, v in state.items()}
        for place, delta in self.deltas.items():
            arrays |= {f"delta.{place}.{k}": v for k, v in delta.arrays.items()}
        return arrays


def load_model(path: Path | str) -> Model:
    """Read a checkpoint folder; weights are safetensors, nothing in it is executed.

    Args:
        path: of a checkpoint, or of a published image-text model (CLIP, SigLIP, open_clip, FLAIR with its vocabulary),
            which then detects by words as it is: no pack, no operating points.

    Raises:
        ArtefactError: no checkpoint there, or it is damaged: a file is missing or unreadable, or weights and settings
            do not give the digest they were saved with.
    """
    place = Path(path)
    towers = None if (place / "meta.json").exists() else towers_in(place)
    if towers is not None:
        return joint_model(*towers)
    meta = read_meta(place, "checkpoint")
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        model = _restored(config, load_file(place / "model.safetensors"), meta, place)
    except Exception as error:
        raise ArtefactError(f"{place} is damaged: {error}", "a checkpoint", f"tapetum verify {place}") from error
    if model.digest != config["digest"]:
        raise ArtefactError(
            f"{place} is damaged: its digest is {model.digest[:16]}", f"{config['digest'][:16]}",
            f"tapetum verify {place}",
        )  # fmt: skip
    return model


def joint_model(
    encoders: str,
    text_encoder: str,
    *,
    pack: str = "",
    prompt_set: str = "name",
    blocks: Mapping[str, tuple[int, int]] | None = None,
) -> Model:
    """A published image-text model as it is: nothing is trained, nothing is calibrated.

    Args:
        encoders: spec of its image tower.
        text_encoder: spec of its text tower.
        pack: domain pack that the findings come from; without one, plain words are looked for.
        prompt_set: which prompts stand for a finding.
        blocks: of the image features, where they are known; else the tower is built to ask it.

    Raises:
        UsageError: not the two towers of one checkpoint. ArtefactError: its files are missing, or it has no such space.
    """
    blocks = Embedder(encoders, backend="torch").blocks if blocks is None else blocks
    space = joint_space(encoders, text_encoder, blocks)
    sides = max(end for _, end in blocks.values()), build_text_encoder(text_encoder).spec.dim
    aligner = joint_aligner(*sides, space.columns, space.scale, space.bias)
    specs = " + ".join(map(str, parse_encoders(encoders)))
    return Model(specs, text_encoder, pack, prompt_set, aligner, space=space, log={"pairs": 0})


def _restored(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], meta: Meta, place: Path) -> Model:
    parts = {name: _below(arrays, name) for name in ("aligner", "adapter", "tower")}
    towers: dict[int, dict[str, torch.Tensor]] = {i: {} for i in config["towers"]}
    for key, value in parts["tower"].items():
        number, _, name = key.partition(".")
        towers[int(number)][name] = torch.from_numpy(value.copy())
    deltas = {int(i): Delta.of(about, _below(arrays, f"delta.{i}")) for i, about in config.get("deltas", {}).items()}
    adapter = None
    if config["adapter"]:
        adapter = Family("tapetum.learn.adapters").build(config["adapter"]).restore(parts["adapter"])
    return Model(
        config["encoders"],
        config["text_encoder"],
        config["pack"],
        config["prompt_set"],
        _aligner(parts["aligner"], bool(config["normalise"])) if parts["aligner"] else None,
        config["adapter"],
        adapter,
        tuple(config["findings"]),
        Operating.from_dict(config["operating"]) if config["operating"] else None,
        towers,
        deltas,
        JointSpace.of(config["space"]) if "space" in config else None,
        config["training"],
        config["log"],
        meta.parents,
        place,
    )


def zero_shot(
    model: Model,
    embeddings: Embeddings,
    findings: Sequence[str] | Sequence[Finding],
    *,
    lateralities: Sequence[str] = (),
    prompt_set: str = "",
    agree: bool = False,
) -> Predictions:
    """Detect findings by their names alone, or by the columns the model was taught if it is an adapter.

    Args:
        model: an aligner or an adapter.
        embeddings: made with its image towers.
        findings: ids of the model's pack (or Finding objects); without a pack, plain words. At least one.
        lateralities: passed through to the predictions, row by row.
        prompt_set: `name`, `grades` or `descriptions`; the model's own if empty.
        agree: probabilities are moved, as little as possible, until no finding is likelier than what stands above it in
            the pack's tree. Logits and thresholds stay; findings without a probability take no part.

    Returns:
        Logits are cosines × scale with the mean prompt of each finding, in a published space its bias added;
        probabilities are NaN for findings that were never calibrated.

    Raises:
        UsageError: no finding, or one that the pack (or the adapter) does not know; the message names the nearest; or
            `agree` without a pack.
        DataError: embeddings of other image towers.
    """
    names = tuple(f.id if isinstance(f, Finding) else f for f in findings)
    if not names:
        raise UsageError("no finding to look for", "at least one", "tapetum list findings")
    if embeddings.encoder != model.encoders:
        raise DataError(
            f"embeddings of {embeddings.encoder}", f"embeddings of {model.encoders}", "embed(archive, model.embedder())"
        )
    if model.adapter is not None:
        missing = [name for name in names if name not in model.findings]
        if missing:
            raise UsageError(f"the adapter was not taught {missing[0]!r}", nearest(missing[0], model.findings))
        logits = model.adapter(_adapter_rows(model, embeddings))[:, [model.findings.index(name) for name in names]]
    else:
        pack = load_pack(model.pack) if model.pack else None
        targets = prompt_vectors(model, names, pack, prompt_set or model.prompt_set)
        scale = float(np.exp(model.aligner.logit_log_scale.detach().numpy())) if model.aligner else 1.0
        logits = scale * (model.encode_image(embeddings.features) @ targets.T)
        if model.space is not None:  # a learned offset is left to calibration
            logits = logits + model.space.bias
    logits = np.asarray(logits, dtype=np.float64)
    probs, thresholds = np.full(logits.shape, np.nan), np.full(len(names), np.nan)
    if model.operating is not None:
        probs, thresholds = model.operating.probabilities(names, logits), model.operating.thresholds_of(names)
    if agree:
        probs = _agreeing(model, names, probs)
    eyes = tuple(lateralities) or ("unknown",) * len(embeddings.image_ids)
    return Predictions(
        embeddings.image_ids, embeddings.patient_ids, eyes, names, logits, probs, thresholds, model.digest[:16]
    )


def _agreeing(model: Model, names: Sequence[str], probs: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """The nearest probabilities that agree with the pack's tree."""
    if not model.pack:
        raise UsageError("no tree of findings to agree with", "a model with a domain pack", "agree=false")
    pack, place = load_pack(model.pack), {name: j for j, name in enumerate(names)}
    known = [n for n in place if n in pack.findings and not np.isnan(probs[:, place[n]]).any()]
    tree = tree_of(pack, known)
    columns = [place[name] for name in tree.names]
    moved = probs.copy()
    moved[:, columns] = consistent(probs[:, columns], tree)
    return moved


def _adapter_rows(model: Model, embeddings: Embeddings) -> Float[np.ndarray, "n d"]:
    """What the adapter was fitted on: the common space where it knows the findings by their words too."""
    needs = model.adapter.NEEDS if model.adapter is not None else ()
    return model.encode_image(embeddings.features) if "anchors" in needs else embeddings.features


def prompt_vectors(
    model: Model, findings: Sequence[str], pack: Pack | None, prompt_set: str
) -> Float[np.ndarray, "k e"]:
    """One unit vector per finding: the mean of its prompts in the common space."""
    texts = [prompts(pack, f, prompt_set=prompt_set) if pack else (f.replace("_", " "),) for f in findings]
    said = [t for of_finding in texts for t in of_finding]
    vectors = model.encode_text([model.space.prompt(t) for t in said] if model.space else said)
    ends = np.cumsum([len(t) for t in texts])
    means = np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


def _aligner(arrays: Mapping[str, np.ndarray], normalise: bool) -> Aligner:
    image, text = arrays["image_weight"].shape, arrays["text_weight"].shape
    aligner = Aligner(image[0], text[0], image[1], power=float(arrays["power"]), normalise=normalise)
    aligner.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items()})
    return aligner.eval()


def _below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(f"{prefix}."): v for k, v in arrays.items() if k.startswith(f"{prefix}.")}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(plain_json(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _card(model: Model) -> str:
    """The checkpoint's own README: what it is and what it was made from; measured results come from `bench`."""
    kind = f"adapter `{model.adapter_spec}`" if model.adapter is not None else "image-text aligner"
    if model.space is not None and model.adapter is None:
        kind = "use of a published image-text model as it is"
    lines = [
        f"# Tapetum {kind}",
        "",
        f"> {INTENDED_USE}",
        "",
        f"- image towers: `{model.encoders}`",
        f"- text tower: `{model.text_encoder}`",
        f"- domain pack: {model.pack or 'none'}; prompts: `{model.prompt_set}`",
        f"- trained on: {model.config.get('archive', 'unknown')} ({model.log.get('pairs', 'unknown')} images)",
        f"- digest: `{model.digest}`",
    ]
    if model.operating:
        o = model.operating
        lines += [
            "", f"Operating points, chosen on validation patients ({o.truth}) for sensitivity {o.sensitivity:g}:",
            "", "| finding | threshold | positives | negatives |", "|---|---|---|---|",
        ]  # fmt: skip
        for f, t, p, n in zip(o.findings, o.thresholds, o.positives, o.negatives, strict=True):
            lines.append(f"| {f} | {t:.3f} | {p} | {n} |")
    lines += ["", "Measured results are not repeated here: `tapetum bench` writes them with intervals."]
    return "\n".join(lines) + "\n"
