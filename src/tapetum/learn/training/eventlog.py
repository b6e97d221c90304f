"""Logs by option: CSV files or TensorBoard event files with the numbers of every step and epoch, one set per stage."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tapetum.core.errors import MissingExtraError, UsageError
from tapetum.core.store import atomic_write
from tapetum.learn.training.history import History
from tapetum.learn.training.runlog import CsvLog, Watcher

LOGS = ("csv", "tensorboard")
EPOCH_COLUMNS = ("epoch", "train_loss", "held_out_loss", "average_loss", "best_epoch")
_FLUSH_SECONDS = 10


@contextlib.contextmanager
def opened_log(kind: str, folder: Path) -> Generator[Watcher]:
    """A watcher that writes a log, closed at the end.

    Args:
        kind: `csv` or `tensorboard`.
        folder: for the files; made when the first stage begins.

    Raises:
        UsageError: another kind. MissingExtraError: `tensorboard` without its extra.
    """
    if kind not in LOGS:
        raise UsageError(f"log={kind!r}", " | ".join(LOGS), "log=csv")
    log = CsvFiles(folder) if kind == "csv" else EventFiles(folder)
    try:
        yield log
    finally:
        log.close()


class CsvFiles:
    """`STAGE.csv` with a line per step, `STAGE_epochs.csv` with a line per epoch; loss in nats, empty = none.

    Args:
        folder: for the files.

    Example:
        >>> import tempfile
        >>> log = CsvFiles(Path(tempfile.mkdtemp()))
        >>> log.stage("tuning with lora(rank=4)")
        >>> log.step(0, 1, 2.5, 0.001)
        >>> log.epoch(0, History(train_loss=[2.5], held_loss=[2.0], best_epoch=0))
        >>> sorted(f.name for f in log.folder.iterdir())
        ['tuning_with_lora_rank_4.csv', 'tuning_with_lora_rank_4_epochs.csv']
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stage("training")

    def stage(self, name: str) -> None:
        """Go on in the files of this stage."""
        self._name = file_name(name)
        self._steps = CsvLog(self.folder / f"{self._name}.csv")

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """Write one line."""
        self._steps(step, steps, loss, rate)

    def epoch(self, epoch: int, history: History) -> None:
        """Write all epochs so far: a run that goes on after a kill knows the earlier ones."""
        del epoch
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(EPOCH_COLUMNS)
        for i, loss in enumerate(history.train_loss):
            others = [repr(of[i]) if i < len(of) else "" for of in (history.held_loss, history.average_loss)]
            lines.writerow([i, repr(loss), *others, int(i == history.best_epoch)])
        atomic_write(self.folder / f"{self._name}_epochs.csv", text.getvalue())

    def close(self) -> None:
        """Nothing: every line is on disk already."""


class EventFiles:
    """TensorBoard event files, a folder per stage; what a run that goes on takes again is purged from the curves.

    Scalars: `loss/step` and `learning_rate` per step; per epoch, at the number of steps done, `loss/train`,
    `loss/held_out` and `loss/average` (of the moving average of the weights).

    Args:
        folder: for the files.

    Raises:
        MissingExtraError: the extra `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            # By name: the type checker need not find what only this extra brings.
            self._package: Any = importlib.import_module("tensorboardX")
        except ImportError:
            raise MissingExtraError(
                "log=tensorboard needs tensorboardX", "the extra `tensorboard`",
                "pip install 'tapetum[tensorboard]', or log=csv",
            ) from None  # fmt: skip
        self.folder = folder
        self._writer: Any = None
        self._name, self._done = "training", 0

    def stage(self, name: str) -> None:
        """Go on in the folder of this stage."""
        self.close()
        self._name, self._done = file_name(name), 0

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """Write the two scalars of a step."""
        del steps
        writer = self._opened(step)
        writer.add_scalar("loss/step", loss, step)
        writer.add_scalar("learning_rate", rate, step)
        self._done = step + 1

    def epoch(self, epoch: int, history: History) -> None:
        """Write the scalars of an epoch, and all that waited."""
        del epoch
        writer = self._opened(self._done)
        of = {"train": history.train_loss, "held_out": history.held_loss, "average": history.average_loss}
        for name, losses in of.items():
            if losses:
                writer.add_scalar(f"loss/{name}", losses[-1], self._done)
        writer.flush()

    def close(self) -> None:
        """Write all that waited; the next step opens a new file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self, step: int) -> Any:
        if self._writer is None:
            # The package names files by the second: two of one second would be one, the first lost.
            self._writer = self._package.SummaryWriter(
                str(self.folder / self._name), purge_step=step, flush_secs=_FLUSH_SECONDS,
                filename_suffix=f".{time.time_ns()}",
            )  # fmt: skip
        return self._writer


def file_name(stage: str) -> str:
    """A stage's name as a file bears it.

    Example:
        >>> file_name("tuning with last(share=0.1)")
        'tuning_with_last_share_0_1'
    """
    return re.sub(r"\W+", "_", stage).strip("_") or "training"
