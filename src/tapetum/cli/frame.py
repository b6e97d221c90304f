"""What all verbs share: options, exit codes, errors, progress, and how a result is told.

Result on stdout, everything else on stderr. Exit codes: 0 done, 1 failure, 2 usage, 3 partial (items in quarantine or
files that could not be read), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shutil
import time
import traceback
import typing
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tapetum.cli.listing import SETTINGS, settings_text
from tapetum.cli.live import Progress, live
from tapetum.cli.words import C, Words, sort_words
from tapetum.core.errors import TapetumError, UsageError

if TYPE_CHECKING:
    from tapetum.learn.training.checkpoint import Saving
    from tapetum.learn.training.runlog import Watch

PARTIAL = 3
INTERRUPTED = 130

Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where the result goes.", show_default=False)]
LogAt = Annotated[
    Path | None,
    typer.Option("--log", help="Folder for the log that log=csv or log=tensorboard writes; OUT_run if empty."),
]
ModelAt = Annotated[Path | None, typer.Option("--model", "-m", help="A checkpoint folder.", show_default=False)]

_COMMON: dict[str, Any] = {
    "as_json": Annotated[bool, typer.Option("--json", help="The result as one JSON object on stdout.")],
    "dry_run": Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")],
    "smoke": Annotated[bool, typer.Option("--smoke", help="Try the verb on a tiny phantom clinic, in seconds.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
    "threads": Annotated[int, typer.Option("--threads", min=0, help="Cores to use; 0 = all.")],
}


@dataclass(frozen=True)
class Run:
    """One call of a verb: its words and the options that every verb has."""

    verb: str
    words: Words
    as_json: bool = False
    dry_run: bool = False
    threads: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Positional words that are neither recipe nor setting."""
        return self.words.inputs

    def path(self, place: int = 0) -> Path:
        """An input as a path."""
        return Path(self.words.inputs[place])

    def config(self, cls: type[C], *also: str) -> C:
        """The verb's settings; `--threads` counts where the settings know threads."""
        knows = "threads" in typing.get_type_hints(cls)
        threads = [f"threads={self.threads}"] if self.threads and knows else []
        return self.words.config(cls, self.verb, also=[*threads, *also])

    def plan(self, *, out: Path | None = None, config: Any = None, mebibytes: float = 0, **told: Any) -> None:
        """With `--dry-run`, say what would be done and end; else warn when the memory will not do.

        Args:
            out: where the result would go.
            config: the settings, shown in full.
            mebibytes: estimated need of memory.
            told: counts and names worth knowing beforehand.

        Raises:
            typer.Exit: with code 0, after a dry run.
        """
        free = free_memory_mib()
        if mebibytes > free:
            note(
                f"this needs about {mebibytes:.0f} MiB of memory, {free:.0f} MiB are free: take fewer or smaller images"
            )
        if not self.dry_run:
            return
        facts = {
            **told,
            "memory_mib": round(mebibytes),
            "free_memory_mib": round(free),
            "out": str(out) if out else None,
        }
        if config is not None:
            facts["settings"] = vars(config)
        lines = [f"dry run of {self.verb}: nothing is written"]
        lines += [f"  {key.replace('_', ' ')}: {value}" for key, value in facts.items() if value not in (None, 0)]
        self.tell("\n".join(lines), {"dry_run": True, **facts})
        raise typer.Exit(0)

    def tell(
        self,
        text: str,
        result: Mapping[str, Any],
        *,
        wrote: Sequence[Path | None] = (),
        then: str = "",
        partial: bool = False,
    ) -> None:
        """Print the result, what was written and the next sensible command; end with code 3 where it is partial."""
        places = [str(place) for place in wrote if place]
        if self.as_json:
            whole = {"verb": self.verb, **result, "wrote": places, "next": then}
            typer.echo(json.dumps(whole, ensure_ascii=False, default=str))
        else:
            told = [text, *(f"wrote {place}" for place in places), f"next: {then}" if then else ""]
            typer.echo("\n".join(part for part in told if part))
        if partial:
            raise typer.Exit(PARTIAL)

    @contextlib.contextmanager
    def progress(self, title: str) -> Generator[Progress | None]:
        """A bar on stderr where that is a terminal, else None."""
        with live(title) as (progress, _):
            yield progress

    @contextlib.contextmanager
    def watching(self, title: str, out: Path, log: Path | None) -> Generator[tuple[Progress | None, Watch]]:
        """As `progress`, and who looks on at a training: a terminal, the log that `log=` asks for.

        Args:
            title: of the bar of images.
            out: where the checkpoint goes; logs lie beside it.
            log: the folder for them instead.
        """
        from tapetum.learn.training.eventlog import opened_log
        from tapetum.learn.training.runlog import Watch
        from tapetum.learn.training.together import is_first

        if log is not None and not self.words.log:
            raise UsageError("--log without log=", "log=csv or log=tensorboard", f"log=csv --log {log}")
        with contextlib.ExitStack() as closing:
            watch = Watch()
            if self.words.log and is_first():  # of several processes one writes
                watch = watch.plus(closing.enter_context(opened_log(self.words.log, log or run_folder(out))))
            progress, watchers = closing.enter_context(live(title, lines=not self.as_json and is_first()))
            yield progress, watch.plus(*watchers)


@contextlib.contextmanager
def until_done(out: Path) -> Generator[Saving]:
    """Where a training keeps its state while it runs: the same command goes on there after a kill.

    The folder lies beside the checkpoint and is removed when all is done.
    """
    from tapetum.learn.training.checkpoint import Saving
    from tapetum.learn.training.together import is_first

    folder = out.with_name(f"{out.name}_unfinished")
    yield Saving(folder)
    if is_first():
        shutil.rmtree(folder, ignore_errors=True)


def run_folder(out: Path) -> Path:
    """Where a training run tells of itself, beside its checkpoint.

    Example:
        >>> run_folder(Path("models/odir")).name
        'odir_run'
    """
    return out.with_name(f"{out.name}_run")


def need(value: Path | None, option: str) -> Path:
    """An option that the verb cannot do without.

    Raises:
        UsageError: it was not given.
    """
    if value is None:
        raise UsageError(f"{option} is missing", f"{option} PATH", "tapetum VERB --help")
    return value


def verb(metavar: str, fewest: int = 1, most: int | None = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn `f(run, *, options…)` into a command that also takes words and the common options.

    Args:
        metavar: the inputs, for the help page.
        fewest: how many inputs there must be.
        most: how many there may be; None = any number.
    """

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__.rstrip("_")
        own = [
            p.replace(annotation=typing.get_type_hints(function, include_extras=True)[p.name])
            for p in list(inspect.signature(function).parameters.values())[1:]
        ]
        shown = f"{metavar} [recipe.toml] [key=value …]" if name in SETTINGS else metavar or "(nothing)"
        argument = typer.Argument(metavar=shown.strip(), show_default=False)
        listed = Annotated[list[str] | None, argument]

        def command(words: list[str] | None = None, **options: Any) -> None:
            common = {key: options.pop(key) for key in _COMMON}
            if common["threads"]:
                os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(common["threads"]))
            if common["smoke"]:
                from tapetum.cli.smoke import smoke

                smoke(name, as_json=common["as_json"], debug=common["debug"])
                return
            sorted_words = sort_words(words or [], logs="log" in options)
            _check(name, sorted_words, metavar, fewest, most)
            run = Run(name, sorted_words, common["as_json"], common["dry_run"], common["threads"])
            function(run, **options)

        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("words", kind, default=None, annotation=listed),
            *(p.replace(kind=kind) for p in own),
        ]
        parameters += [
            inspect.Parameter(key, kind, default=0 if key == "threads" else False, annotation=annotation)
            for key, annotation in _COMMON.items()
        ]
        command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__name__, command.__doc__ = name, function.__doc__
        return command

    return wrap


class VerbCommand(TyperCommand):
    """A verb whose help page ends with its settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The usual page, then the settings with their defaults."""
        super().format_help(ctx, formatter)
        typer.echo(settings_text(str(self.name)), nl=False)


class Verbs(TyperGroup):
    """The group of verbs: the one place where errors become text and exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the data's way, not of the alphabet."""
        return list(self.commands)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words: an error before the verb is parsed must know whether JSON was asked for."""
        ctx.meta["words"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; whatever goes wrong ends in one message and an exit code."""
        as_json, debug = "--json" in ctx.meta["words"], "--debug" in ctx.meta["words"]
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (TapetumError, KeyboardInterrupt) as error:
                if debug:
                    traceback.print_exc()
                raise typer.Exit(_explain(error, as_json)) from None
            except (typer.Exit, typer.Abort, BrokenPipeError):
                raise
            except Exception as error:
                shown = getattr(error, "format_message", None)
                if shown is not None and not as_json:
                    raise  # the parser's own messages are printed by typer, with exit code 2
                if debug and shown is None:
                    traceback.print_exc()
                code = _explain(UsageError(shown()) if shown else error, as_json)
                raise typer.Exit(code) from None


def main() -> None:
    """The `tapetum` command."""
    # Before torch and numpy are loaded. Threads that spin while they wait cost a factor of five to eight on a busy
    # machine: OpenMP can be told to sleep, OpenBLAS cannot, and at this size one core does it as well (--threads N).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tapetum.cli.verbs import app

    app(prog_name="tapetum")


def note(text: str) -> None:
    """A line for the person, on stderr."""
    typer.echo(text, err=True)


def free_memory_mib() -> float:
    """Memory that a new program could have, in MiB; infinite where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024
    except (OSError, StopIteration):
        return float("inf")


def _check(name: str, words: Words, metavar: str, fewest: int, most: int | None) -> None:
    inputs = words.inputs
    if name not in SETTINGS and (words.settings or words.recipe):
        raise UsageError(f"{name} takes no settings, found {(*words.settings, words.recipe)[0]}", metavar or "none")
    if len(inputs) < fewest or (most is not None and len(inputs) > most):
        told = f"{len(inputs)} inputs" + (f" ({' '.join(inputs)})" if inputs else "")
        raise UsageError(told, metavar or "none", f"tapetum {name} --help")


def _explain(error: BaseException, as_json: bool) -> int:
    """Print an error on stderr, as text or JSON; the exit code that belongs to it."""
    if isinstance(error, KeyboardInterrupt):
        told, code = {"error": "interrupted", "next": "run the same again: what was done is kept"}, INTERRUPTED
    elif isinstance(error, TapetumError):
        told = {"error": error.found, "expected": error.expected, "next": error.next_step}
        code = error.exit_code
    elif isinstance(error, OSError):
        told = {
            "error": f"{error.filename or 'a file'}: {error.strerror or error}",
            "next": "look at the place, run again",
        }
        code = 1
    else:
        text = str(error).splitlines()
        told = {"error": f"internal error: {type(error).__name__}: {text[0] if text else ''}"}
        told["next"] = "run the same with --debug and report the traceback"
        code = 1
    if as_json:
        note(json.dumps({**told, "kind": type(error).__name__, "exit_code": code}, ensure_ascii=False))
    else:
        head = "" if told["error"].startswith("internal") or isinstance(error, KeyboardInterrupt) else "error: "
        lines = [f"{head}{told['error']}", *(f"  {key}: {told[key]}" for key in ("expected", "next") if told.get(key))]
        note("\n".join(lines))
    return code


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
        note(f"warning: {message}")
