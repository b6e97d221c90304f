"""Out-of-distribution scores that read words: what the findings are called, and what no known image is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.bench.trial import Trial
from tapetum.bench.trust.outlying import Known, Values
from tapetum.bench.trust.outlying_parts import Parts
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Head, ImageRecord
from tapetum.knowledge import load_pack, prompts
from tapetum.knowledge.pack import pack_names
from tapetum.learn.granular.places import place_cosines
from tapetum.learn.model import Model, prompt_vectors
from tapetum.score.in_distribution import InDistribution
from tapetum.score.words import far_words, gl_mcm

NEGATIVES, PLACES, TEMPERATURE = 100, 500, 0.01
# Words that no eye, chest or skin is called by; findings of the other packs stand beside them.
EVERYDAY = (
    "a street", "a car", "a tree", "a dog", "a cat", "a bird", "a house", "a table", "a chair", "a flower", "a person",
    "a face", "a hand", "a cup", "a book", "a page of text", "a screenshot", "a logo", "a map", "the sea", "a mountain",
    "the sky", "a field", "food on a plate", "a bicycle", "a train", "a clock", "a telephone", "a computer screen",
    "a blank image", "a black image", "noise", "a drawing", "a bar chart", "a barcode", "a photograph of a room",
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """The findings as words of a model, and the negative words farthest from them.

    Attributes:
        names: the findings. vectors: their words. negatives: other words; both of unit length in the common space.
        prompt_set: what stands for a finding.
    """

    model: Model
    names: tuple[str, ...]
    vectors: Float[np.ndarray, "k e"]
    negatives: Float[np.ndarray, "m e"]
    prompt_set: str

    def known(self, parts: Parts) -> Known:
        """What scores are fitted on: training images in the common space, with the words in the place of a head."""
        head = Head(self.vectors.astype(np.float32), np.zeros(len(self.names), dtype=np.float32))
        rows = self.model.encode_image(parts.features(parts.train))
        note = f"head: words ({self.prompt_set}) of {', '.join(self.names)}, read as classes; no labels"
        note += f"; {len(self.negatives)} negative words, chosen by their distance from these"
        return Known(InDistribution(rows, None, head, "softmax", self.negatives), self.model.encode_image, note)

    def by_places(self, trial: Trial, parts: Parts) -> dict[str, Values]:
        """GL-MCM of all images that scores are asked for.

        Raises:
            DataError: too many images to read again. UsageError: shifted images that are corrupted on the way.
        """
        if parts.shifted and parts.shifted.change:
            raise UsageError("places of images that are corrupted on the way", "shifted='ARCHIVE'", "places=False")
        count = len(parts.test) + len(parts.outside) + len(parts.val) + sum(len(p.records) for p in parts.further if p)
        if count > PLACES:
            raise DataError(f"places of {count} images", f"at most {PLACES}, since each is read again", "places=False")

        def of(records: Sequence[ImageRecord], archive: Archive, features: Float[np.ndarray, "n d"]) -> np.ndarray:
            ids = [r.image_id for r in records]
            cosines = place_cosines(self.model, archive, ids, self.vectors, threads=trial.config.threads)
            return gl_mcm(self.model.encode_image(features) @ self.vectors.T, cosines, temperature=TEMPERATURE)

        here = trial.archive
        known = of(parts.test, here, parts.features(parts.test))
        outside = of(parts.outside, trial.test_archive, parts.outside_embeddings.features)
        further = [of(p.records, p.archive, p.features) if p else known[:0] for p in parts.further]
        val = of(parts.val, here, parts.features(parts.val))
        return {"gl_mcm": Values(np.concatenate([known, outside]), val, *further)}

    def supervision(self, spec: str) -> str:
        """As in `Record`: words were learned from reports, or came with a published space."""
        del spec
        return "published space" if self.model.space is not None else "report-supervised"


def words_of(trial: Trial, unseen: Sequence[str], prompt_set: str) -> Words:
    """The words of the trial's findings in the space of its model.

    Args:
        trial: with a model that knows words.
        unseen: findings that are held out.
        prompt_set: `name`, `grades` or `descriptions`; the model's own if empty.

    Raises:
        UsageError: no model, or one that knows no words. DataError: fewer than two findings to be called by.
    """
    model = trial.model
    if model is None or model.aligner is None:
        raise UsageError("head='words' without a model that knows words", "--model CKPT", "tapetum pretrain ARCHIVE")
    names = tuple(f for f in trial.findings if f not in unseen)
    if len(names) < 2:
        raise DataError(f"{len(names)} findings to be called by", "at least two", "findings=…")
    pack = load_pack(model.pack) if model.pack else None
    chosen = prompt_set or model.prompt_set
    vectors = prompt_vectors(model, names, pack, chosen)
    others = model.encode_text(_other_words(model.pack))
    negatives = others[far_words(others, vectors, keep=NEGATIVES)]
    return Words(model, names, vectors, negatives, chosen)


def _other_words(pack: str) -> list[str]:
    """Everyday words, and what the findings of the other packs are called."""
    said = [*EVERYDAY]
    for other in pack_names():
        if other != pack:
            loaded = load_pack(other)
            said += [text for finding in loaded.findings for text in prompts(loaded, finding)]
    return list(dict.fromkeys(said))
