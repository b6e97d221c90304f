"""What a tuner learned, as a small file that is tied to its network and its preprocessing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save_file

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import Family
from tapetum.core.store import Meta, new_artefact, read_meta
from tapetum.learn.tuners import Tuner
from tapetum.learn.tuning.attach import module_of, trainable
from tapetum.nets import Encoder

KIND = "delta"
TUNERS = "tapetum.learn.tuners"


@dataclass(frozen=True)
class Delta:
    """The learned part of a tuned network.

    Attributes:
        tuner: spec of a member of `learn/tuners`, with every option that decides where the arrays go.
        base: weights digest of the network it was learned on. preprocess: digest of what its pixels went through.
        arrays: by the name of the parameter. encoder: spec of the network, for a person.
    """

    tuner: str
    base: str
    preprocess: str
    arrays: Mapping[str, Float[np.ndarray, "..."]]
    encoder: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over tuner, base, preprocessing and arrays."""
        whole = hashlib.sha256(json.dumps([self.tuner, self.base, self.preprocess]).encode())
        for name, array in sorted(self.arrays.items()):
            whole.update(f"{name}{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    @property
    def numbers(self) -> int:
        """How many numbers were learned."""
        return sum(array.size for array in self.arrays.values())

    @property
    def size(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def about(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON takes it."""
        return {
            "tuner": self.tuner, "base": self.base, "preprocess": self.preprocess, "encoder": self.encoder,
            "digest": self.digest, "numbers": self.numbers, "bytes": self.size,
        }  # fmt: skip

    @staticmethod
    def of(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Delta:
        """The inverse of `about` and `arrays`.

        Raises:
            ArtefactError: both do not give the digest they were saved with.
        """
        delta = Delta(about["tuner"], about["base"], about["preprocess"], dict(arrays), about["encoder"])
        if delta.digest != about["digest"]:
            raise ArtefactError(
                f"the delta is damaged: its digest is {delta.digest[:16]}", str(about["digest"])[:16],
                "take the file from where it was saved",
            )  # fmt: skip
        return delta


def taken(encoder: Encoder, tuner: str, base: str, preprocess: str, spec: str) -> Delta:
    """The delta of an encoder that a tuner was attached to: copies of its trainable parameters.

    Args:
        encoder: trained.
        tuner: as attached.
        base: its weights digest before.
        preprocess: digest of the preprocessing.
        spec: of the encoder.
    """
    arrays = {name: p.detach().cpu().numpy().copy() for name, p in trainable(encoder).items()}
    return Delta(tuner, base, preprocess, arrays, spec)


def attach_delta(encoder: Encoder, delta: Delta, preprocess: str) -> None:
    """Put a delta into the network it was learned on: attach the tuner, take its arrays, fold where that is possible.

    Args:
        encoder: changed in place, with a weights digest of its own.
        delta: what was learned.
        preprocess: digest of what the encoder's pixels go through.

    Raises:
        ArtefactError: another network, another preprocessing, or arrays that do not fit; both digests are named.
    """
    name = encoder.spec.name
    if encoder.spec.weights_digest != delta.base:
        raise ArtefactError(
            f"the delta was learned on weights {delta.base[:16]} ({delta.encoder}), "
            f"{name} has {encoder.spec.weights_digest[:16]}",
            "the network it was learned on", f"encoders={delta.encoder}",
        )  # fmt: skip
    if preprocess != delta.preprocess:
        raise ArtefactError(
            f"the delta was learned on pixels of preprocessing {delta.preprocess[:16]}, here it is {preprocess[:16]}",
            "the same size, mean, standard deviation, fit, resampling and view", f"encoders={delta.encoder}",
        )  # fmt: skip
    tuner: Tuner = Family(TUNERS).build(delta.tuner)
    tuner.attach(encoder)
    own = trainable(encoder)
    shapes = {key: tuple(p.shape) for key, p in own.items()}
    found = {key: array.shape for key, array in delta.arrays.items()}
    if shapes != found:
        odd = sorted(set(shapes.items()) ^ set(found.items()))
        raise ArtefactError(f"the delta does not fit {name}: {odd[:4]}", f"the arrays of {delta.tuner}")
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(torch.from_numpy(np.asarray(delta.arrays[key])))
        tuner.fold(encoder)
    for parameter in module_of(encoder).parameters():
        parameter.requires_grad_(False)
    digest = hashlib.sha256(f"{delta.base}{delta.digest}".encode()).hexdigest()
    encoder.spec = dataclasses.replace(encoder.spec, weights_digest=digest)


def save_delta(delta: Delta, out: Path, *, parents: Mapping[str, str] | None = None) -> Path:
    """Write a delta: `delta.safetensors` and `delta.json`.

    Args:
        delta: what was learned.
        out: a new folder, or one that holds a delta.
        parents: role → digest.

    Raises:
        ArtefactError: `out` exists and is no delta. UsageError: nothing was learned.
    """
    if not delta.arrays:
        raise UsageError("the delta holds no arrays", "what a tuner learned")
    meta = Meta(KIND, parents={"base": delta.base, **(parents or {})}, config={"tuner": delta.tuner})
    with new_artefact(out, meta) as folder:
        save_file({k: np.asarray(v, order="C") for k, v in delta.arrays.items()}, folder / "delta.safetensors")
        (folder / "delta.json").write_text(json.dumps(delta.about(), indent=1) + "\n", encoding="utf-8")
    return out


def load_delta(path: Path | str) -> Delta:
    """Read what `save_delta` wrote; nothing in it is executed.

    Raises:
        ArtefactError: no delta there, or it is damaged.
    """
    place = Path(path)
    read_meta(place, KIND)
    try:
        about = json.loads((place / "delta.json").read_text(encoding="utf-8"))
        return Delta.of(about, load_file(place / "delta.safetensors"))
    except ArtefactError:
        raise
    except Exception as error:
        raise ArtefactError(f"{place} is damaged: {error!r}", "a delta", "take it from where it was saved") from error
