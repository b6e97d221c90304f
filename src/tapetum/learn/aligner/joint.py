"""The space that a published image-text model was trained for: found in its files, and used as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import Spec
from tapetum.core.store import file_digest
from tapetum.learn.features.embedder import parse_encoders
from tapetum.nets import Aligner
from tapetum.nets.local import joint_scale, local_folder, read_json, tensors_in

BLOCK = "projection"
KINDS = ("transformer", "open_clip", "flair")
# FLAIR keeps the logarithm of its scale in this range whenever it computes logits, and asks for every finding so.
_FLAIR_LARGEST = math.exp(4.6052)
_CAPTIONS = {"flair": "A fundus photograph of {}"}
_WHOLE = ("config.json", "model.safetensors")
_JOINT_TYPES = ("clip", "siglip")
_FLAIR_FILES = ("model.safetensors", "flair_resnet.safetensors")


@dataclass(frozen=True)
class JointSpace:
    """Where a published image-text model keeps what images and texts share.

    Attributes:
        kind: the family's member that reads it: `transformer`, `open_clip` or `flair`.
        columns: first and last+1 column of the image features that lie in the space.
        scale, bias: a logit is `scale · cosine + bias`.
        caption: what its authors set a finding's name into, `{}` being its place; empty = the name as it is.
    """

    kind: str
    columns: tuple[int, int]
    scale: float
    bias: float
    caption: str = ""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> JointSpace:
        """The inverse of `dataclasses.asdict`, after JSON."""
        first, last = raw["columns"]
        return JointSpace(raw["kind"], (first, last), raw["scale"], raw["bias"], raw["caption"])

    def prompt(self, text: str) -> str:
        """The words for a finding as the model's authors would ask for it."""
        return self.caption.replace("{}", text) if self.caption else text


def joint_space(encoders: str, text_encoder: str, blocks: Mapping[str, tuple[int, int]]) -> JointSpace:
    """The space that an image tower and a text tower of one checkpoint share.

    Args:
        encoders: spec of the image tower; one alone.
        text_encoder: spec of the text tower.
        blocks: of the image tower's features, as in `Embeddings.blocks`.

    Raises:
        UsageError: several image towers, or towers of different members or checkpoints.
        ArtefactError: the checkpoint has no joint space: no projection of images, or no stored scale.
    """
    specs = parse_encoders(encoders)
    image, text = specs[0], Spec.parse(text_encoder)
    if len(specs) > 1 or image.name not in KINDS:
        raise UsageError(
            f"a joint space of {encoders}", f"one image tower of {', '.join(KINDS)}",
            "task=joint encoders=\"transformer(path='clip')\" text_encoder=\"transformer(path='clip')\"",
        )  # fmt: skip
    if text.name != image.name or not _same(_weights(image), _weights(text)):
        raise UsageError(
            f"images through {image}, texts through {text}: not the two towers of one checkpoint",
            f"the text tower of {_weights(image)}", f'text_encoder="{text_spec(encoders) or image.name + "(…)"}"',
        )  # fmt: skip
    columns = [place for name, place in blocks.items() if name.rpartition("/")[2] == BLOCK]
    if not columns:
        raise ArtefactError(
            f"{image} has the blocks {', '.join(blocks)}, none of them shared with texts",
            f"a whole image-text model with the block {BLOCK}", "task=ridge, which learns a space from reports",
        )  # fmt: skip
    scale, bias = joint_scale(_weights(image))
    if image.name == "flair":
        scale = min(max(scale, 1.0), _FLAIR_LARGEST)
    return JointSpace(image.name, columns[0], scale, bias, _CAPTIONS.get(image.name, ""))


def joint_aligner(image_dim: int, text_dim: int, columns: Sequence[int], scale: float, bias: float) -> Aligner:
    """An aligner that changes nothing: some columns of the image features, and texts as they come, at length 1.

    Args:
        image_dim: columns of the image features.
        text_dim: columns of the text features.
        columns: first and last+1 of the image features that lie in the space of the texts; empty = all.
        scale: a logit is `scale · cosine + bias`.
        bias: of the logits.

    Raises:
        UsageError: not as many columns as texts have, or a scale not above 0.
    """
    first, last = columns or (0, image_dim)
    if last - first != text_dim or not 0 <= first < last <= image_dim:
        raise UsageError(
            f"images with {last - first} columns of {image_dim} in the joint space, texts with {text_dim}",
            "as many of both: the two towers of one checkpoint",
        )
    if not scale > 0:
        raise UsageError(f"scale={scale}", "a number above 0")
    aligner = Aligner(image_dim, text_dim, text_dim, normalise=True)
    with torch.no_grad():
        aligner.image_weight.zero_()
        aligner.image_weight[first:last] = torch.eye(text_dim)
        aligner.logit_log_scale.fill_(math.log(scale))
        aligner.logit_bias.fill_(bias)
    return aligner.eval()


def text_spec(encoders: str, text_encoder: str = "") -> str:
    """The text tower that shares a checkpoint with an image tower, `""` where there is none.

    Args:
        encoders: specs of image towers.
        text_encoder: taken where it is the one: FLAIR's texts need a vocabulary that its own file does not hold.
    """
    specs = parse_encoders(encoders)
    image = specs[0]
    if len(specs) > 1 or image.name not in KINDS:
        return ""
    if image.name == "flair":
        text = Spec.parse(text_encoder) if text_encoder else Spec("")
        if text.name == "flair" and _same(_weights(image), _weights(text)):
            return str(text)
        folder = Path(image.options.get("weights", ""))
        return _flair_texts(folder) if folder.is_dir() else ""
    if image.name == "transformer" and not _is_whole(image.options.get("path", "")):
        return ""
    return str(Spec(image.name, {"path": image.options.get("path", "")}))


def towers_in(folder: Path) -> tuple[str, str] | None:
    """Specs of the image and the text tower of a published folder; None where it is none that is known here.

    Args:
        folder: a whole CLIP or SigLIP of `transformers`, a folder of open_clip, or FLAIR's weights with the
            configuration and vocabulary of its BERT beside them.
    """
    if (folder / "open_clip_config.json").is_file():
        both = str(Spec("open_clip", {"path": str(folder)}))
        return both, both
    if _is_whole(folder):
        both = str(Spec("transformer", {"path": str(folder)}))
        return both, both
    texts = _flair_texts(folder)
    return (str(Spec("flair", {"weights": str(folder)})), texts) if texts else None


def _weights(spec: Spec) -> Path:
    """The file, or the folder of a whole model, that a tower is read from."""
    if spec.name == "transformer":
        return local_folder(spec.options.get("path", ""), _WHOLE)
    if spec.name == "open_clip":
        from tapetum.nets.published.foreign import weights_file
        from tapetum.nets.published.open_clip_layout import FILES, WHERE

        return weights_file(spec.options.get("path", ""), FILES, WHERE)
    from tapetum.nets.published.foreign import weights_file

    return weights_file(spec.options.get("weights", ""), _FLAIR_FILES, "copy FLAIR's weights there")


def _same(one: Path, other: Path) -> bool:
    """One place, or equal bytes in two."""
    if one.resolve() == other.resolve():
        return True
    if one.is_file() and other.is_file():
        return file_digest(one) == file_digest(other)
    names = [sorted(p.name for p in folder.glob("model*.safetensors")) for folder in (one, other)]
    equal = bool(names[0]) and names[0] == names[1]
    return equal and all(file_digest(one / name) == file_digest(other / name) for name in names[0])


def _is_whole(path: Path | str) -> bool:
    """Whether `transformers` would read both sides of an image-text model from there."""
    try:
        folder = local_folder(path, _WHOLE)
        whole = read_json(folder / "config.json").get("model_type") in _JOINT_TYPES
        return whole and "logit_scale" in tensors_in(folder)
    except ArtefactError:
        return False


def _flair_texts(folder: Path) -> str:
    """The spec of FLAIR's text tower where weights, configuration and vocabulary lie in one folder."""
    words = any((folder / name).is_file() for name in ("vocab.txt", "tokenizer.json"))
    try:
        bert = read_json(folder / "config.json").get("model_type") == "bert"
    except ArtefactError:
        return ""
    if not (words and bert and any((folder / name).is_file() for name in _FLAIR_FILES)):
        return ""
    return str(Spec("flair", {"path": str(folder), "weights": str(folder)}))
