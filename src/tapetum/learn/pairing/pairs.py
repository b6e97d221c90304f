"""Image-text pairs from an archive: which words belong to which image."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tapetum.archive import Archive
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import UNKNOWN, Embeddings, ImageRecord, Laterality
from tapetum.knowledge import Pack, load_pack
from tapetum.learn.pairing.said import parsed, report_findings
from tapetum.learn.pairing.texts import (
    Alternatives,
    EncodeText,
    Groups,
    Texts,
    encode_all,
    encode_groups,
    first_text,
    image_text,
    wording_of,
)
from tapetum.learn.pairing.tokens import Tokens
from tapetum.learn.pairing.tree import Tree, tree_of
from tapetum.nets import Aligner

POOLS = ("", "mean", "max")

__all__ = [
    "POOLS",
    "Fitted",
    "Pairs",
    "image_text",
    "mentions_any",
    "pack_of",
    "pairs_of",
    "report_findings",
    "report_labels",
]


@dataclass(frozen=True)
class Pairs:
    """Training pairs: one row per image, or per eye and visit where images are pooled.

    Attributes:
        features: pooled image features as embedded. text_features: of each image's text, row by row; of several the
            mean.
        texts: the text that stands for each image. patient_ids: for inner patient splits.
        image_ids: whose rows they are; of pooled images the first.
        visits: what patient, visit and eye a row shows, `""` where one of them is unknown.
        alternatives: the texts where images have several, None where each has one.
        tree: of the findings that the reports affirm, None without a domain pack. labels: 1 where a report affirms one
            of them or a finer form. names: text features of their names, where the task asked for them.
        groups: what each text says piece by piece. tokens: local features, row by row. Both where the task asked.
    """

    features: Float[np.ndarray, "n d"]
    texts: tuple[str, ...]
    text_features: Float[np.ndarray, "n t"]
    patient_ids: tuple[str, ...]
    image_ids: tuple[str, ...] = ()
    visits: tuple[str, ...] = ()
    alternatives: Alternatives | None = None
    tree: Tree | None = None
    labels: Float[np.ndarray, "n k"] | None = None
    names: Float[np.ndarray, "k t"] | None = None
    groups: Groups | None = None
    tokens: Tokens | None = None

    def with_texts_of(self, source: Int[np.ndarray, "n"]) -> Pairs:
        """The same images with the words of other rows, and all that is known from the words."""
        return dataclasses.replace(
            self,
            texts=tuple(self.texts[i] for i in source),
            text_features=self.text_features[source],
            alternatives=None if self.alternatives is None else self.alternatives.rows(source),
            labels=None if self.labels is None else self.labels[source],
            groups=None if self.groups is None else self.groups.rows(source),
        )


@dataclass(frozen=True)
class Fitted:
    """An aligner and the story of its fit.

    Attributes:
        log: what was chosen and how well it did, for the model card and the run's output.
        alarms: sentences that a person must read, for example that the loss did not leave chance.
    """

    aligner: Aligner
    log: Mapping[str, Any] = field(default_factory=dict[str, Any])
    alarms: tuple[str, ...] = ()


def mentions_any(record: ImageRecord, pack: Pack, findings: Sequence[str]) -> bool:
    """Whether the report names one of the findings, a synonym or a finer form of it, affirmed or not.

    Names and synonyms count wherever they stand, also where the parser reads another meaning (`cataract surgery`): what
    must be unseen must not be read in any sense.
    """
    wanted = frozenset(f for finding in findings for f in (finding, *pack.descendants(finding)))
    if any(m.finding in wanted for m in parsed(record.report, pack).mentions):
        return True
    return bool(_terms(pack, wanted).search(record.report))


def report_labels(records: Sequence[ImageRecord], pack: Pack, findings: Sequence[str]) -> Float[np.ndarray, "n k"]:
    """Weak labels read from the reports: 1 where it or a finer form is affirmed, else 0; NaN for an empty report."""
    out = np.full((len(records), len(findings)), np.nan)
    for i, record in enumerate(records):
        if record.report.strip():
            known = pack.closure(report_findings(record, pack))
            out[i] = [finding in known for finding in findings]
    return out


def pairs_of(
    archive: Archive,
    embeddings: Embeddings,
    records: Sequence[ImageRecord],
    *,
    text: str,
    encode_text: EncodeText,
    pool: str = "",
    names: bool = False,
    groups: bool = False,
    tokens: Tokens | None = None,
) -> Pairs:
    """Join images and words; images without a word are left out.

    Args:
        archive: whose pack reads the reports.
        embeddings: of its images.
        records: which of them.
        text: member of `learn/wording`.
        encode_text: texts → float array [n t]; called once, with each distinct text once.
        pool: `mean` or `max` of the features of all images of one eye and visit with the same words; `""` = every image
            is a row. Images of an unknown eye or visit stay alone.
        names: encode the names of the findings, too (a second call).
        groups: encode the pieces of each text, too (a further call).
        tokens: local features of at least these images.

    Raises:
        DataError: fewer than 10 images have a word, or all have the same; an image has no tokens.
        UsageError: an unknown wording or pool, or tokens of pooled images.
    """
    if pool not in POOLS:
        raise UsageError(f"pool={pool!r}", " | ".join(repr(p) for p in POOLS), "pool=mean")
    if pool and tokens is not None:
        raise UsageError(f"pool={pool!r} with a task on tokens", "local features of single images", "pool=")
    pack = pack_of(archive)
    records, words = _worded(archive, pack, records, text)
    eyes = _groups(records, words) if pool else [[i] for i in range(len(records))]
    firsts = [eye[0] for eye in eyes]
    rows = embeddings.rows([r.image_id for r in records])
    text_features, alternatives = encode_all([words[i] for i in firsts], encode_text)
    tree, labels = (None, None) if pack is None else _read([records[i] for i in firsts], pack)
    return Pairs(
        _pooled(rows.features, eyes, pool) if pool else rows.features,
        tuple(first_text(words[i]) for i in firsts),
        text_features,
        tuple(rows.patient_ids[i] for i in firsts),
        tuple(rows.image_ids[i] for i in firsts),
        tuple(visit_of(records[i]) for i in firsts),
        alternatives,
        tree,
        labels,
        _names(pack, tree, encode_text) if names and pack and tree else None,
        encode_groups([first_text(words[i]) for i in firsts], encode_text) if groups else None,
        None if tokens is None else tokens.of([records[i].image_id for i in firsts]),
    )


def _worded(
    archive: Archive, pack: Pack | None, records: Sequence[ImageRecord], text: str
) -> tuple[list[ImageRecord], list[Texts]]:
    """The images that have a word, and their words."""
    wording = wording_of(text)
    found = [(record, of) for record in records if first_text(of := wording(record, pack))]
    if len(found) < 10:
        raise DataError(
            f"{len(found)} of {len(records)} images of {archive.name} have a text (text={text})",
            "at least 10 image-text pairs",
            "tapetum ingest … --map report=COLUMN",
        )
    if len({first_text(of) for _, of in found}) < 2:
        raise DataError(f"all {len(found)} texts are equal (text={text})", "reports that differ", "text=report")
    return [record for record, _ in found], [of for _, of in found]


def visit_of(record: ImageRecord) -> str:
    """The patient, visit and eye that an image shows, `""` where one of them is unknown."""
    if record.visit_id in ("", UNKNOWN) or record.laterality in (Laterality.UNKNOWN, Laterality.BOTH):
        return ""
    return f"{record.patient_id}/{record.visit_id}/{record.laterality.value}"


def pack_of(archive: Archive) -> Pack | None:
    """The domain pack of an archive, or None for a modality without one."""
    return load_pack(archive.pack) if archive.pack else None


def _read(records: Sequence[ImageRecord], pack: Pack) -> tuple[Tree, Float[np.ndarray, "n k"]]:
    """The findings that reports affirm, closed over the tree; the modality itself says nothing and is left out."""
    known = [pack.closure(report_findings(record, pack)) - {pack.modality} for record in records]
    tree = tree_of(pack, sorted(frozenset[str]().union(*known)))
    return tree, np.array([[name in of for name in tree.names] for of in known], dtype=np.float64)


def _names(pack: Pack, tree: Tree, encode_text: EncodeText) -> Float[np.ndarray, "k t"]:
    return np.asarray(encode_text([pack.findings[f].name for f in tree.names]), dtype=np.float64)


def _groups(records: Sequence[ImageRecord], words: Sequence[Texts]) -> list[list[int]]:
    """Images of one eye and visit with the same words, in the order of their first."""
    found: dict[object, list[int]] = {}
    for i, record in enumerate(records):
        visit = visit_of(record)
        same = (visit, tuple(tuple(text.items()) for text in words[i]))
        found.setdefault(same if visit else i, []).append(i)
    return list(found.values())


def _pooled(features: Float[np.ndarray, "n d"], groups: Sequence[Sequence[int]], pool: str) -> np.ndarray:
    reduce = np.mean if pool == "mean" else np.max
    return np.stack([reduce(features[list(group)], axis=0) for group in groups])


@lru_cache(maxsize=64)
def _terms(pack: Pack, findings: frozenset[str]) -> re.Pattern[str]:
    """Names and synonyms of findings as whole words; scripts without blanks between words are matched anywhere."""
    terms = {t for f in findings for t in (pack.findings[f].name, *sum(pack.findings[f].synonyms.values(), ()))}
    parts = [re.escape(t) if not t.isascii() else rf"\b{re.escape(t)}" for t in sorted(terms, key=len, reverse=True)]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)
