"""The catalog against a plain dictionary: written, refused, reread, killed, forgotten, collected in any order."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tapetum.archive.store.catalog import Catalog, Identity, SightRow, Statement
from tapetum.archive.store.seal import broken_seal
from tapetum.archive.upkeep.rows import Rows
from tapetum.core.types import Split

IDS = [c * 64 for c in "abcd"]
SOURCES = ["one.png", "two.png", "three.png"]
PATIENTS = ["p1", "p2", "p12"]
images, sources, patients = st.sampled_from(IDS), st.sampled_from(SOURCES), st.sampled_from(PATIENTS)


class CatalogMachine(RuleBasedStateMachine):
    """`statements` and so on are what must be read back."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "catalog.sqlite"
        self.catalog = Catalog(self.path)
        self.run = 0
        self.statements: dict[tuple[str, str, int], tuple[str, str, int]] = {}  # → reason, patient, run
        self.sights: dict[str, float] = {}
        self.seen: dict[str, str] = {}
        self.identities: dict[tuple[str, str], bytes] = {}
        self.cursors: dict[str, str] = {}
        self.current: dict[str, str] = {}  # image → patient, of the last outcome
        self.splits: dict[str, Split] = {}
        self.held: dict[str, set[str]] = {}  # digest of a snapshot → its patients

    @rule(source=sources, image_id=images, patient=patients, refused=st.booleans(), texture=st.floats(-4, 4, width=16))
    def write(self, source: str, image_id: str, patient: str, refused: bool, texture: float) -> None:
        """As an ingest does: earlier refusals of the file and what was said of the same bytes give way."""
        self.run += 1
        reason, image = ("no good", "") if refused else ("", image_id)
        said = {} if refused else {"patient_id": patient}
        self.catalog.write(
            [Statement("export", source, image, 0, 2, reason, said)], self.run,
            sights=[] if refused else [SightRow(image, {"t": texture}, np.array([texture]), np.zeros(2, np.float32))],
            identities=[] if refused else [Identity("patient", patient, image.encode())],
            seen={} if refused else {f"digest of {source}": image},
        )  # fmt: skip
        for key in [k for k in self.statements if k[0] == source]:
            if key[1] == image or self.statements[key][0]:
                del self.statements[key]
        self.statements[source, image, 0] = (reason, "" if refused else patient, self.run)
        if not refused:
            self.sights[image] = texture
            self.identities["patient", patient] = image.encode()
            self.seen[f"digest of {source}"] = image

    @rule(image_id=images)
    def fail_to_write(self, image_id: str) -> None:
        """The last of its sights cannot be written: nothing of the call stays."""
        sight = SightRow(image_id, {}, np.zeros(1), np.zeros(1, np.float32))
        bad = SightRow(image_id, {"x": object()}, np.zeros(1), np.zeros(1, np.float32))
        try:
            self.catalog.write(
                [Statement("export", "never.png", image_id, 0, 2, "", {"patient_id": "p1"})], self.run + 1,
                sights=[sight, bad], seen={"never": image_id}, identities=[Identity("uid", "never", b"")],
            )  # fmt: skip
        except TypeError:
            return
        raise AssertionError("it was written")

    @rule()
    def drop_old_refusals(self) -> None:
        self.run += 1
        self.catalog.forget_refusals("export", self.run)
        self.statements = {k: v for k, v in self.statements.items() if not v[0]}

    @rule(value=st.text(max_size=5), source=sources)
    def move_cursor(self, value: str, source: str) -> None:
        self.catalog.set_cursor(source, value)
        self.cursors[source] = value

    @rule()
    def finish(self) -> None:
        """An ingest comes to its end: the outcome is stored, and a new snapshot takes the place of the old one."""
        with self.catalog.writing() as run:
            self.run = max(self.run, run)
            self.current = {image: patient for (_, image, _), (reason, patient, _) in self.statements.items()
                            if not reason}  # fmt: skip
            splits = dict.fromkeys(self.current.values(), Split.TRAIN)
            self.catalog.write_outcome(self.current.items(), [], splits)
            digest = f"digest {len(self.held)}"
            (self.folder / "meta.json").write_text(json.dumps({"digest": digest}))
        self.splits |= splits
        self.held[digest] = set(self.current.values())

    @rule()
    def kill(self) -> None:
        """The process dies: its files, with the log as it is, are all that the next one finds."""
        copy = Path(tempfile.mkdtemp())
        for file in self.folder.iterdir():
            shutil.copy(file, copy / file.name)
        self.catalog.connection.close()
        shutil.rmtree(self.folder)
        self.folder, self.path = copy, copy / "catalog.sqlite"
        self.catalog = Catalog(self.path)

    @rule()
    def reopen(self) -> None:
        run = int(self.catalog.setting("run", "0"))
        self.catalog.close()
        changed, sealed = broken_seal(self.folder)
        # A run that was killed while it wrote the file anew is one that did not finish, and is told as such.
        assert not changed or run > sealed
        self.catalog = Catalog(self.path)

    @rule(patient=patients)
    def forget(self, patient: str) -> None:
        rows = Rows(self.catalog)
        traces = rows.traces(patient, {i for i, p in self.current.items() if p == patient})
        with self.catalog.writing() as run:
            self.run = max(self.run, run)
            with self.catalog.transaction():
                rows.delete_patient(patient, traces)
            rows.overwrite()
        gone = {k[1] for k, v in self.statements.items() if v[1] == patient} - {""}
        gone |= {i for i, p in self.current.items() if p == patient}
        assert traces.images == gone
        self.statements = {k: v for k, v in self.statements.items() if k[1] not in gone}
        self.sights = {i: t for i, t in self.sights.items() if i not in gone}
        self.seen = {d: i for d, i in self.seen.items() if i not in gone}
        lost = {p for kind, p in traces.pseudonyms}
        here = {v[1] for v in self.statements.values()}  # whom no row names any more goes too
        self.identities = {k: v for k, v in self.identities.items() if k[1] in here - lost}
        assert patient not in {p for _, p in self.identities}
        self.current = {i: p for i, p in self.current.items() if i not in gone}
        self.splits.pop(patient, None)
        for held in self.held.values():
            held.discard(patient)

    @rule()
    def collect(self) -> None:
        rows = Rows(self.catalog)
        known = {k[1] for k in self.statements} - {""}
        number = rows.delete_lost(known, dry_run=True)
        assert rows.delete_lost(known, dry_run=False) == number
        assert rows.delete_lost(known, dry_run=True) == 0
        assert rows.image_ids() == known
        self.sights = {i: t for i, t in self.sights.items() if i in known}
        self.seen = {d: i for d, i in self.seen.items() if i in known}
        here = {v[1] for v in self.statements.values()}
        self.identities = {k: v for k, v in self.identities.items() if k[1] in here}

    @invariant()
    def reads_back(self) -> None:
        if not hasattr(self, "catalog"):
            return
        found = {
            (s.source, s.image_id, s.ordinal): (s.reason, s.said.get("patient_id", ""))
            for s in self.catalog.statements()
        }
        assert found == {k: v[:2] for k, v in self.statements.items()}
        assert {s.image_id: s.facts["t"] for s in self.catalog.sights()} == self.sights
        assert all(float(s.texture[0]) == s.facts["t"] for s in self.catalog.sights())
        assert {i.kind + i.pseudonym: i.sealed for i in self.catalog.identities()} == {
            k + p: v for (k, p), v in self.identities.items()
        }
        assert {d: self.catalog.was_seen(d) for d in self.seen} == self.seen
        assert {s: self.catalog.cursor(s) for s in SOURCES} == {s: self.cursors.get(s) for s in SOURCES}
        assert self.catalog.image_ids() == tuple(sorted(self.current))
        assert self.catalog.splits() == self.splits
        assert self.catalog.damage() == ""

    @invariant()
    def remembers_who_was_in_which_snapshot(self) -> None:
        """Never one too few; the present snapshot is noted when the next run begins."""
        if not hasattr(self, "catalog"):
            return
        past = list(self.held)[:-1]
        for patient in PATIENTS:
            known = set(self.catalog.snapshots_with(patient))
            assert known >= {digest for digest in past if patient in self.held[digest]}

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.connection.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def test_who_was_written_over_is_forgotten_with_who_came_instead():
    machine = CatalogMachine()
    machine.begin()
    for patient in ("p1", "p2"):
        machine.write("two.png", IDS[1], patient, False, 0.0)
    machine.forget("p2")
    machine.reads_back()
    assert machine.catalog.identities() == ()
    machine.teardown()


TestCatalogMachine = CatalogMachine.TestCase
TestCatalogMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
