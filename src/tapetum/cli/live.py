"""What is seen while a verb works: bars on a terminal, a line now and then elsewhere, never a word on stdout."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tapetum.learn.training.history import History
    from tapetum.learn.training.runlog import Watcher

Progress = Callable[[int, int], None]
EVERY_SECONDS = 10.0  # between two lines where there is no terminal
_REFRESH = 0.1
_TITLE = 28  # characters


def on_terminal() -> bool:
    """Whether a person sees stderr; it may be closed."""
    return sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]


@contextlib.contextmanager
def live(title: str, *, lines: bool = False) -> Generator[tuple[Progress | None, tuple[Watcher, ...]]]:
    """Who is told how far images and training are.

    Args:
        title: of the bar of images.
        lines: where there is no terminal, a line per epoch, at most one in 10 seconds.

    Yields:
        A function of images done and in all, None where nobody looks; and who looks on at a training.
    """
    if not on_terminal():
        yield None, (EpochLines(),) if lines else ()
        return
    with bars_on() as bars:
        yield Images(bars, title), (Training(bars),)


class Images:
    """A bar of images: done, per second, and the time that is left.

    Args:
        bars: a `rich.progress.Progress`.
        title: before the bar.
    """

    def __init__(self, bars: Any, title: str) -> None:
        self._bars, self._title = bars, title
        self._task: Any = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is; what came from a cache at the start counts for no speed."""
        if self._task is None:
            self._task = self._bars.add_task(self._title, total=total, completed=done, told="", unit="images")
        elif done < self._done:
            self._bars.reset(self._task, total=total, completed=done)
        else:
            self._bars.update(self._task, completed=done, total=total)
        self._done = done
        if done >= total:
            self._bars.remove_task(self._task)
            self._task = None


class Training:
    """A bar of steps: epoch, loss, held-out loss, learning rate, steps per second, and the time that is left at most.

    Args:
        bars: a `rich.progress.Progress`.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None
        self._name, self._held, self._epochs = "training", "", 0
        self._seen = -math.inf

    def stage(self, name: str) -> None:
        """A new bar."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        short = name if len(name) <= _TITLE else f"{name[: _TITLE - 1]}…"
        self._task, self._name, self._held, self._epochs, self._seen = None, short, "", 0, -math.inf

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """Move the bar; a few times a second is enough for an eye."""
        if self._task is None:
            # the first step of a run that goes on stands where that run was
            self._task = self._bars.add_task(self._name, total=steps, completed=step, told="", unit="steps")
        now = time.monotonic()
        if now - self._seen < _REFRESH and step + 1 < steps:
            return
        self._seen = now
        told = f"epoch {self._epochs + 1}  loss {loss:.4f}{self._held}  rate {rate:.1e}"
        self._bars.update(self._task, completed=step + 1, total=steps, told=told)

    def epoch(self, epoch: int, history: History) -> None:
        """Say what patients that were held out lose."""
        self._epochs = epoch + 1
        if history.held_loss:
            self._held = f"  held out {history.held_loss[-1]:.4f}"


class EpochLines:
    """One line on stderr per epoch, at most one in some seconds: for the log of a job that nobody looks at."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self._every = every_seconds
        self._last = time.monotonic()
        self._name, self._at = "training", ""

    def stage(self, name: str) -> None:
        """Another loop."""
        self._name = name

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """Remember where it is."""
        del loss, rate
        self._at = f"step {step + 1} of {steps}"

    def epoch(self, epoch: int, history: History) -> None:
        """A line, if it is time for one."""
        if time.monotonic() - self._last < self._every:
            return
        self._last = time.monotonic()
        held = f", held out {history.held_loss[-1]:.4f}" if history.held_loss else ""
        loss = history.train_loss[-1] if history.train_loss else math.nan
        typer.echo(f"{self._name}: epoch {epoch + 1}, {self._at}, loss {loss:.4f}{held}", err=True)


@contextlib.contextmanager
def bars_on(console: Any = None) -> Generator[Any]:
    """Bars that leave no trace, each with what is told besides below it; stdout is left alone: a result is no progress.

    Args:
        console: of rich; stderr if None.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Speed(ProgressColumn):
        """Images or steps per second."""

        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} {task.fields['unit']}/s" if speed else "")

    class Screen:
        """Two lines a bar: both fit into 80 columns."""

        def __rich__(self) -> Group:
            below = [f"  {task.fields['told']}" for task in bars.tasks if task.fields["told"]]
            lines = [Text(words, no_wrap=True, overflow="ellipsis") for words in below]
            return Group(bars.make_tasks_table(bars.tasks), *lines)

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), Speed(), TimeRemainingColumn(compact=True))
    bars = Bars(TextColumn("{task.description}"), *columns)
    with Live(Screen(), console=console or Console(stderr=True), transient=True, redirect_stdout=False) as shown:
        yield bars
        shown.refresh()
