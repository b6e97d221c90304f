"""A clinic's export in, an archive out: images by content, records, splits by patient, a quarantine. No torch."""

from tapetum.archive.audit import AuditReport, audit
from tapetum.archive.config import IngestConfig
from tapetum.archive.ingest import IngestSummary, ingest
from tapetum.archive.opened import Archive, open_archive
from tapetum.archive.pixels import decode, probe
from tapetum.archive.verify import verify

__all__ = [
    "Archive",
    "AuditReport",
    "IngestConfig",
    "IngestSummary",
    "audit",
    "decode",
    "ingest",
    "open_archive",
    "probe",
    "verify",
]
