"""The numbers of a run while it goes on, for a person or a program that watches."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tapetum.learn.training.history import History

COLUMNS = ("step", "steps", "loss", "learning_rate", "seconds")
POINTS = 400  # of a curve that is kept, at most


class Watcher(Protocol):
    """One that looks on while a loop trains: a terminal, a file, a record. It changes nothing of the run."""

    def stage(self, name: str) -> None:
        """A loop begins; `name` says what it trains, for example `tuning with lora`."""
        ...

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """A step is done: its number from 0, the number of all, its loss in nats and its learning rate."""
        ...

    def epoch(self, epoch: int, history: History) -> None:
        """An epoch is done: its number from 0, and the losses so far."""
        ...


@dataclass(frozen=True)
class Watch:
    """Everyone who looks on, handed down to the loop: `run_loop(…, on_step=watch.on_step, on_epoch=watch.on_epoch)`.

    Args:
        watchers: told in this order; may be none.

    Example:
        >>> curve = Curve()
        >>> watch = Watch().plus(curve).stage("tuning")
        >>> watch.on_step(0, 2, 3.0, 0.1)
        >>> curve.told()["loss"]
        [3.0]
    """

    watchers: tuple[Watcher, ...] = ()

    def plus(self, *more: Watcher) -> Watch:
        """The same with more of them."""
        return Watch((*self.watchers, *more))

    def stage(self, name: str) -> Watch:
        """Say that a loop begins; itself again, to be handed on."""
        for watcher in self.watchers:
            watcher.stage(name)
        return self

    def on_step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """For the loop, after every step."""
        for watcher in self.watchers:
            watcher.step(step, steps, loss, rate)

    def on_epoch(self, epoch: int, history: History) -> None:
        """For the loop, after every epoch."""
        for watcher in self.watchers:
            watcher.epoch(epoch, history)


UNWATCHED = Watch()


class Curve:
    """Loss and learning rate per step, thinned to at most 400 points, as a model's log keeps them.

    Each point is the mean of equally many steps that follow each other; the number is doubled when the points are too
    many. A run that goes on after a kill has the points from there on.
    """

    def __init__(self) -> None:
        self.stage("")

    def stage(self, name: str) -> None:
        """Forget what was before."""
        self._points: list[tuple[float, float, float]] = []
        self._open: list[tuple[float, float, float]] = []
        self._each, self._steps = 1, 0

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """Keep the step."""
        self._steps = steps
        self._open.append((float(step), loss, rate))
        if len(self._open) == self._each:
            self._points.append(_mean(self._open))
            self._open = []
            if len(self._points) == 2 * (POINTS // 2):
                self._points = [_mean(self._points[i : i + 2]) for i in range(0, len(self._points), 2)]
                self._each *= 2

    def epoch(self, epoch: int, history: History) -> None:
        """Nothing: the history keeps the epochs."""

    def told(self) -> dict[str, Any]:
        """`step`, `loss`, `rate` as lists of equal length, `each` = steps per point, `steps` = of the whole run."""
        points = [*self._points, *([_mean(self._open)] if self._open else [])]
        columns = {name: [p[i] for p in points] for i, name in enumerate(("step", "loss", "rate"))}
        return {**columns, "each": self._each, "steps": self._steps}


class CsvLog:
    """Writes `step, steps, loss, learning_rate, seconds` after every step; hand it to the loop as `on_step`.

    Each line reaches the file at once. A run that goes on after a kill goes on in the same file, and what the file
    knows of steps that are taken again is cut off.

    Args:
        path: of the file; made if it is not there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run.csv"
        >>> CsvLog(path)(0, 10, 2.5, 0.001)
        >>> path.read_text().splitlines()[1].startswith("0,10,2.5,0.001,")
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = time.monotonic()
        self._next = 0
        if path.exists():
            self._next = len(path.read_text(encoding="utf-8").splitlines()) - 1

    def __call__(self, step: int, steps: int, loss: float, rate: float) -> None:
        """Write one line."""
        if step != self._next or not self.path.exists():
            self._cut(step)
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerow([step, steps, repr(loss), repr(rate), f"{time.monotonic() - self._start:.3f}"])
        self._next = step + 1

    def _cut(self, step: int) -> None:
        """Keep the lines before `step`."""
        lines = self.path.read_text(encoding="utf-8").splitlines()[1:] if self.path.exists() else []
        kept = [line for line in lines if line.partition(",")[0].isdigit() and int(line.partition(",")[0]) < step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join([",".join(COLUMNS), *kept]) + "\n", encoding="utf-8")


def _mean(points: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    step, loss, rate = (sum(column) / len(points) for column in zip(*points, strict=True))
    return step, loss, rate
