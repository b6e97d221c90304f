"""A PACS by DICOMweb: studies listed by QIDO-RS or Orthanc's feed of changes, objects fetched by WADO-RS.

The source is `dicomweb:http://HOST:PORT/dicom-web`. Credentials come from the environment or a netrc file. Objects
wait in a folder of the user's own until the archive has them; nothing is written to the PACS.

Source: DICOM PS3.18 (10.4 Retrieve, 10.6 Search), Orthanc's REST interface (`/changes`). Differs: the answer is
    checked (the object that came is the one asked for, whole, and as many as were promised), and bounded in bytes,
    time and tries; objects are stored as they came, not as a client library wrote them anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from tapetum.archive.pacs.pull import check, pull
from tapetum.archive.pacs.qido import Wanted
from tapetum.archive.pacs.source import Item, Memory, Portion, Source, state_folder
from tapetum.core.errors import UsageError

__all__ = ["dicomweb"]


def dicomweb(
    address: str,
    *,
    modality: str = "",
    since: str = "",
    until: str = "",
    patients: str = "",
    changes: str = "auto",
    again: bool = False,
) -> Source:
    """Everything wanted that a PACS holds, study by study.

    Args:
        address: of the DICOMweb root, `http://HOST:PORT/dicom-web`.
        modality: DICOM codes, `OP,OPT`; reports of the same studies come with them. Empty for all.
        since: first study date, `2024-01-31`.
        until: last study date.
        patients: Patient IDs, separated by commas.
        changes: `auto`, `yes` or `no`: follow Orthanc's feed of changes from where the last ingest came to.
        again: fetch also what was taken before.

    Returns:
        The source; its objects wait in the user's state folder until the archive has them.

    Raises:
        UsageError: a wrong option, or credentials in the address.
    """
    if changes not in ("auto", "yes", "no"):
        raise UsageError(f"changes={changes!r}", "auto, yes or no")
    wanted = Wanted.of(modality, since, until, patients)

    def asked() -> Iterator[Item]:
        check(address)
        return iter(())

    def portions(memory: Memory) -> Iterator[Portion]:
        return pull(address, wanted=wanted, changes=changes, again=again, memory=memory)

    return Source(state_folder("spool", address), address, asked, portions)
