"""Objects of a PACS by WADO-RS, study by study, into portions that are on disk before the next is fetched.

A study is the unit: its reports are joined to its images. Only what was not taken before is fetched, unless a report
is among the news: then the study is read whole. What cannot be fetched is refused with its reason and asked for again
by the next run; where the PACS as a whole stops answering, the run ends, and what came before it stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tapetum.archive.dicom.classes import is_document
from tapetum.archive.dicom.values import read_header, text
from tapetum.archive.pacs.qido import (
    Listed,
    Study,
    Wanted,
    changed,
    last_change,
    objects,
    orthanc_root,
    studies,
    study_of,
)
from tapetum.archive.pacs.source import Item, Memory, NoMemory, Portion, held_folder, items_of, state_folder, sweep
from tapetum.archive.pacs.web import MAX_OBJECT_BYTES, PATIENCE, LostError, NoAnswerError, Patience, Server, one_part
from tapetum.archive.rows import Note, Refusal, one_line
from tapetum.core.errors import DataError, UsageError

PORTION_FILES = 256
PORTION_BYTES = 512 * 2**20
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def pull(
    url: str,
    *,
    wanted: Wanted,
    changes: str = "auto",
    again: bool = False,
    memory: Memory | None = None,
    spool: Path | None = None,
    patience: Patience = PATIENCE,
) -> Iterator[Portion]:
    """What a PACS holds and the archive does not.

    Args:
        url: of its DICOMweb root.
        wanted: which studies.
        changes: `auto`, `yes` or `no`: read Orthanc's feed of changes from where the last run came to.
        again: fetch also what was taken before.
        memory: of the archive.
        spool: folder where objects wait; one in the user's state folder if None.
        patience: with a slow server.

    Yields:
        Portions; `done()` is to be called once their items are on disk.

    Raises:
        DataError: it does not answer (any more), or is no DICOMweb server. UsageError: credentials are wanted.
    """
    remembered = memory if memory is not None else NoMemory()
    server = Server(url, patience)
    with held_folder(spool or state_folder("spool", url), remembered.folder) as folder:
        sweep(folder)
        fetcher = _Fetcher(server, wanted, remembered, folder, again)
        try:
            root = orthanc_root(server) if changes != "no" else None
            if changes == "yes" and root is None:
                raise UsageError(f"{server.name} is no Orthanc: it has no feed of changes", "changes='auto'")
            if root is None:
                yield from fetcher.portions(studies(server, wanted))
                yield Portion((Note(fetcher.remark()),))
            else:
                yield from _follow(fetcher, root, f"{url} {wanted}")
        finally:
            server.close()
            sweep(folder)


def check(url: str, *, patience: Patience = PATIENCE) -> None:
    """Ask the PACS for one study: whether it is there, speaks DICOMweb and accepts the credentials.

    Raises:
        DataError: it does not. UsageError: no URL, or credentials are wanted.
    """
    server = Server(url, patience)
    try:
        server.json(f"{server.root}/studies", [("limit", "1")], "application/dicom+json")
    finally:
        server.close()


def _follow(fetcher: _Fetcher, root: str, name: str) -> Iterator[Portion]:
    """The studies that changed, and the cursor moved behind each page once all of it is on disk."""
    memory, server = fetcher.memory, fetcher.server
    said = "" if fetcher.again else memory.cursor(name)
    since, newest = int(said) if said.isdigit() else 0, last_change(server, root)
    if newest < since:
        yield Portion((Note("the PACS counts its changes anew: it is read from the beginning"),))
        since = 0
    covered: set[str] = set()
    for uids, last in changed(server, root, since):
        fresh = [uid for uid in uids if uid not in covered or last > newest]
        covered.update(fresh)
        found = (study_of(server, uid) for uid in fresh)
        yield from fetcher.portions(s for s in found if s is not None and fetcher.wanted.takes(s))
        if fetcher.whole:  # a page with an object that did not come is asked for again by the next run
            memory.set_cursor(name, str(last))
    yield Portion((Note(fetcher.remark()),))


@dataclass
class _Fetcher:
    """Fetches studies; `whole` until something did not come."""

    server: Server
    wanted: Wanted
    memory: Memory
    folder: Path
    again: bool
    whole: bool = True
    fetched: int = 0
    known: int = 0
    _files: dict[str, Path] = field(default_factory=dict[str, Path])

    def remark(self) -> str:
        """What was done, for the person at the screen."""
        rest = "" if self.whole else "; some did not come: run the same again"
        return f"{self.fetched} objects were fetched, {self.known} were here before{rest}"

    def portions(self, found: Iterator[Study]) -> Iterator[Portion]:
        """Whole studies together until they are many files or bytes."""
        items, groups, held = list[Item](), list[dict[str, str]](), 0
        for study in found:
            said, files = self._study(study)
            items.extend(said)
            if files:
                groups.append(files)
            held += sum(self._files[file].stat().st_size for file in files)
            if sum(map(len, groups)) >= PORTION_FILES or held >= PORTION_BYTES:
                yield self._portion(items, groups)
                items, groups, held = list[Item](), list[dict[str, str]](), 0
        if items or groups:
            yield self._portion(items, groups)

    def _portion(self, items: list[Item], groups: list[dict[str, str]]) -> Portion:
        def done() -> None:
            for files in groups:
                self.memory.remember(files)
                for file in files:
                    self._files.pop(file).unlink(missing_ok=True)

        return Portion(items, done)

    def _study(self, study: Study) -> tuple[list[Item], dict[str, str]]:
        """Rows and refusals of a study, and its objects on disk (file → UID)."""
        try:
            listed, count = objects(self.server, study, self.wanted)
        except NoAnswerError:
            raise
        except DataError as error:
            self._still_there(error)
            self.whole = False
            return [Refusal(f"{study.uid}.dcm", 0, f"the study cannot be listed: {one_line(error)}")], {}
        missing = list[Item]()
        if count < study.count:
            self.whole = False
            reason = f"the PACS lists {count} objects of the study and says that there are {study.count}"
            missing.append(Refusal(f"{study.uid}.dcm", 0, reason))
        news = [one for one in listed if self.again or not self.memory.has(one.uid)]
        fetched, refused = self._fetch_all(study, news)
        old = [one for one in listed if one not in news]
        reports = any(one.is_report for one in listed) or any(self._is_report(path) for path in fetched.values())
        if news and old and reports:
            more, others = self._fetch_all(study, old)
            fetched, refused = dict(sorted((fetched | more).items())), refused + others
        self.fetched += len(fetched)
        self.known += len(listed) - len(fetched) - len(refused)
        self._files |= fetched
        uids: Mapping[str, str] = {f"{one.uid}.dcm": one.uid for one in listed}
        return [*missing, *items_of(fetched), *refused], {file: uids[file] for file in fetched}

    def _fetch_all(self, study: Study, listed: list[Listed]) -> tuple[dict[str, Path], list[Item]]:
        fetched, refused = dict[str, Path](), list[Item]()
        for one in listed:
            file = f"{one.uid}.dcm"
            try:
                fetched[file] = self._fetch(study, one)
            except NoAnswerError:
                raise
            except DataError as error:
                self._still_there(error)
                self.whole = False
                refused.append(Refusal(file, 0, one_line(error)))
        return fetched, refused

    def _fetch(self, study: Study, one: Listed) -> Path:
        target = f"{self.server.root}/studies/{study.uid}/series/{one.series}/instances/{one.uid}"
        try:
            data = one_part(*self.server.get(target, _ACCEPT, MAX_OBJECT_BYTES))
        except LostError:  # also of the right length and without its end
            data = one_part(*self.server.get(target, _ACCEPT, MAX_OBJECT_BYTES))
        path = self.folder / f"{one.uid}.dcm"
        path.touch(mode=0o600)
        path.write_bytes(data)
        try:
            ds = read_header(path, ("SOPInstanceUID", "StudyInstanceUID"))
            if text(ds, "SOPInstanceUID") != one.uid or text(ds, "StudyInstanceUID") != study.uid:
                raise DataError("the PACS sent another object than was asked for", "the object that it lists")
        except DataError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _is_report(self, path: Path) -> bool:
        return is_document(text(read_header(path, ("SOPClassUID",)), "SOPClassUID"))

    def _still_there(self, error: DataError) -> None:
        """Find out whether an answer that broke off is this object's fault or the PACS's.

        Raises:
            NoAnswerError: the PACS.
        """
        if isinstance(error, LostError):
            try:
                self.server.json(f"{self.server.root}/studies", [("limit", "1")], "application/dicom+json")
            except DataError:
                raise NoAnswerError(
                    f"the PACS {self.server.name} stopped answering", "a PACS that answers",
                    "run the same again: what came is kept, the rest is fetched then",
                ) from None  # fmt: skip
