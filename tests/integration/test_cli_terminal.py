"""Verbs under a real terminal: bars on stderr, a clean stdout, and a whole terminal after Ctrl-C or a closed pipe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from tapetum.cli.smoke import Workshop

pytestmark = pytest.mark.slow
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
QUIET = {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "COLUMNS": "140"}
FINDINGS = "findings=normal_fundus,diabetic_retinopathy"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("workshop")).archive()


class Terminal:
    """A verb whose stderr is a terminal that somebody reads."""

    def __init__(self, *words, stdout=subprocess.PIPE):
        ours, theirs = pty.openpty()
        self.child = subprocess.Popen(
            [sys.executable, "-c", "from tapetum.cli import main; main()", *map(str, words)],
            stdout=stdout, stderr=theirs, stdin=subprocess.DEVNULL, env=os.environ | QUIET, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.seen, self.fresh = "", threading.Condition()
        self.reader = threading.Thread(target=self._read, args=(ours,))
        self.reader.start()

    def _read(self, handle):
        with contextlib.suppress(OSError):  # the other end was closed
            while part := os.read(handle, 65536):
                with self.fresh:
                    self.seen += part.decode(errors="replace")
                    self.fresh.notify_all()
        os.close(handle)

    def wait_for(self, words):
        with self.fresh:
            assert self.fresh.wait_for(lambda: words in self.seen, timeout=60), self.seen

    def end(self):
        out = self.child.stdout.read().decode() if self.child.stdout else ""
        code = self.child.wait(60)
        self.reader.join(10)
        if self.child.stdout:
            self.child.stdout.close()
        return code, out


def adapt(archive, out, epochs, *more, **options):
    tuning = f"tuning=epochs={epochs}, batch=4, patience=0"
    return Terminal(
        "adapt", archive, "--out", out, "encoders=tiny()", FINDINGS, "tuner=full", tuning, *more, **options
    )  # fmt: skip


def test_a_training_is_seen_and_stdout_stays_clean(archive, tmp_path):
    at = adapt(archive, tmp_path / "model", 3, "--json", "log=csv", "--log", tmp_path / "log")
    code, out = at.end()
    assert code == 0
    told = json.loads(out)
    assert told["wrote"] == [str(tmp_path / "model"), str(tmp_path / "model_run")]
    for words in ("embedding", "tuning with full", "steps", "epoch 3", "loss", "held out", "rate"):
        assert words in at.seen, words
    assert at.seen.count(HIDE) == at.seen.count(SHOW) > 0
    assert {f.name for f in (tmp_path / "model_run").iterdir()} == {"run.html", "run.json"}
    assert {f.name for f in (tmp_path / "log").iterdir()} == {"tuning_with_full.csv", "tuning_with_full_epochs.csv"}


def test_ctrl_c_ends_with_130_and_leaves_the_terminal_whole(archive, tmp_path):
    at = adapt(archive, tmp_path / "model", 100_000)
    at.wait_for("epoch 2")
    os.killpg(at.child.pid, signal.SIGINT)
    code, out = at.end()
    assert (code, out) == (130, "")
    assert "interrupted" in at.seen
    assert "Traceback" not in at.seen
    assert at.seen.count(HIDE) == at.seen.count(SHOW) > 0
    assert not (tmp_path / "model").exists()


def test_a_reader_that_went_away_is_no_traceback(archive):
    ours, theirs = os.pipe()
    os.close(ours)
    at = Terminal("embed", archive, "encoders=tiny()", stdout=theirs)
    os.close(theirs)
    code, _ = at.end()
    assert code != 0
    assert "Traceback" not in at.seen
    assert at.seen.count(HIDE) == at.seen.count(SHOW)
