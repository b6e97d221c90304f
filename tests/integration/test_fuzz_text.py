"""Coverage-guided rubbish for tables, reports and identifiers in text: tables may be refused, texts never raise.

Run as a script with a target's name, it is the fuzzer itself: `python test_fuzz_text.py table CORPUS -runs=1000`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from fuzzing import fuzz_for_a_while

SEEDS = {
    "table": [
        b"file,patient,eye,report\na.png,p1,OD,normal fundus\n", "Datei;Patient\nä.png;1,5\n".encode("cp1252"),
        "\ufefffile\tpatient\na\tb\n".encode("utf-16"), b'"a\nb","c"\n1,2\n',
    ],
    "report": [
        b"Findings: OD: drusen, no haemorrhage. OS: moderate NPDR? Plan: review.", "右眼: 未见出血".encode(),
        b"OD: sin hemorragias; OI: drusas.", b"DRUSEN: R yes / L no\n\n1) clear",
    ],
    "identifiers": [
        b"Dr. Smith, tel 030 1234567, born 3 May 1950, IOP 18 mmHg, a@b.de",
        b"MRN 12345 on 2020-01-02 4111 1111 1111 1111",
    ],
}  # fmt: skip


def fuzz(target: str, arguments: list[str]) -> None:
    """Run the fuzzer; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["tapetum.archive", "tapetum.knowledge"]):
        from tapetum.archive.deidentify import find_identifiers
        from tapetum.archive.tables.table import map_columns, read_table
        from tapetum.knowledge import load_pack, parse_report
    from tapetum.core.errors import DataError, UsageError

    pack, folder = load_pack("fundus"), Path(tempfile.mkdtemp())

    def one(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        if target == "report":
            found = parse_report(text, pack)
            assert all(0 <= m.start < m.end <= len(text) for m in found.mentions)
        elif target == "identifiers":
            assert all(0 <= s.start < s.end <= len(text) for s in find_identifiers(text))
        else:
            place = folder / "t.csv"
            place.write_bytes(data)
            try:
                map_columns(read_table(place), "", required=("image",))
            except (DataError, UsageError):
                return

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


@pytest.mark.slow
@pytest.mark.parametrize("target", SEEDS)
def test_rubbish_does_no_harm(target: str, tmp_path: Path) -> None:
    fuzz_for_a_while(__file__, target, SEEDS[target], tmp_path, longest=2048)


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
