"""Image-text pairs from an archive: which words belong to which image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Embeddings, ImageRecord, Laterality
from tapetum.knowledge import Pack, load_pack, parse_report
from tapetum.nets import Aligner

TEXT_MODES = ("report", "eye", "findings")
_LIST_SEPARATORS = re.compile(r"\s*[，、;；]\s*")


@dataclass(frozen=True)
class Pairs:
    """Training pairs: one row per image.

    Attributes:
        features: pooled image features as embedded. text_features: of each image's text, row by row.
        texts: the text that stands for each image. patient_ids: for inner patient splits.
        image_ids: whose rows they are.
    """

    features: Float[np.ndarray, "n d"]
    texts: tuple[str, ...]
    text_features: Float[np.ndarray, "n t"]
    patient_ids: tuple[str, ...]
    image_ids: tuple[str, ...] = ()


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


def image_text(record: ImageRecord, pack: Pack | None, mode: str) -> str:
    """The words that stand for an image.

    Args:
        record: of the image.
        pack: domain pack, None where there is none.
        mode: `report` = the report as written; `eye` = its sentences that speak of this eye or of no particular eye;
            `findings` = the names of the findings it affirms for this eye, most specific only (needs a pack).

    Returns:
        Text, `""` where nothing is said; lists get plain commas, so that full-width ones do not split equal reports.

    Raises:
        UsageError: an unknown mode, or one that needs a pack without a pack.
    """
    if mode not in TEXT_MODES:
        raise UsageError(f"text={mode!r}", " | ".join(TEXT_MODES), "text=report")
    if mode == "report":
        return _LIST_SEPARATORS.sub(", ", record.report).strip()
    if pack is None:
        raise UsageError(f"text={mode!r} needs a domain pack", "an archive of a known modality", "text=report")
    if mode == "eye":
        return _LIST_SEPARATORS.sub(", ", _parsed(record.report, pack).text_for(record.laterality)).strip()
    present = report_findings(record, pack)
    leaves = [f for f in present if not any(f in pack.ancestors(other) for other in present)]
    return ", ".join(sorted(pack.findings[f].name for f in leaves))


def report_findings(record: ImageRecord, pack: Pack) -> frozenset[str]:
    """Findings that the report affirms for this image's eye."""
    eye = record.laterality if record.laterality in (Laterality.LEFT, Laterality.RIGHT) else None
    return _parsed(record.report, pack).present(eye)


def mentions_any(record: ImageRecord, pack: Pack, findings: Sequence[str]) -> bool:
    """Whether the report names one of the findings, a synonym or a finer form of it, affirmed or not.

    Names and synonyms count wherever they stand, also where the parser reads another meaning (`cataract surgery`): what
    must be unseen must not be read in any sense.
    """
    wanted = frozenset(f for finding in findings for f in (finding, *pack.descendants(finding)))
    if any(m.finding in wanted for m in _parsed(record.report, pack).mentions):
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
    archive: Archive, embeddings: Embeddings, records: Sequence[ImageRecord], *, text: str, encode_text: Any
) -> Pairs:
    """Join images and words; images without a word are left out.

    Args:
        archive: whose pack reads the reports.
        embeddings: of its images.
        records: which of them.
        text: see `image_text`.
        encode_text: texts → float array [n t]; called once, with each distinct text once.

    Raises:
        DataError: fewer than 10 images have a word, or all have the same.
    """
    pack = pack_of(archive)
    words = [image_text(record, pack, text) for record in records]
    kept = [i for i, word in enumerate(words) if word]
    if len(kept) < 10:
        raise DataError(
            f"{len(kept)} of {len(records)} images of {archive.name} have a text (text={text})",
            "at least 10 image-text pairs",
            "tapetum ingest … --map report=COLUMN",
        )
    unique, inverse = np.unique([words[i] for i in kept], return_inverse=True)
    if len(unique) < 2:
        raise DataError(f"all {len(kept)} texts are equal (text={text})", "reports that differ", "text=report")
    rows = embeddings.rows([records[i].image_id for i in kept])
    return Pairs(
        rows.features,
        tuple(words[i] for i in kept),
        np.asarray(encode_text([str(u) for u in unique]), dtype=np.float64)[inverse],
        rows.patient_ids,
        rows.image_ids,
    )


def pack_of(archive: Archive) -> Pack | None:
    """The domain pack of an archive, or None for a modality without one."""
    return load_pack(archive.pack) if archive.pack else None


@lru_cache(maxsize=64)
def _terms(pack: Pack, findings: frozenset[str]) -> re.Pattern[str]:
    """Names and synonyms of findings as whole words; scripts without blanks between words are matched anywhere."""
    terms = {t for f in findings for t in (pack.findings[f].name, *sum(pack.findings[f].synonyms.values(), ()))}
    parts = [re.escape(t) if not t.isascii() else rf"\b{re.escape(t)}" for t in sorted(terms, key=len, reverse=True)]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


@lru_cache(maxsize=65536)
def _parsed(report: str, pack: Pack) -> Any:
    return parse_report(report, pack)
