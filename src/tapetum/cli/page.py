"""The reference page of the command line, written from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from tapetum.cli.listing import settings_text
from tapetum.cli.verbs import app

_EXIT_CODES = """| code | meaning |
|---|---|
| 0 | done |
| 1 | failure; the message on stderr says what was found, what was expected and what to do next |
| 2 | usage: unknown verb, option, key or method; the nearest is named |
| 3 | partial: rows or files are in quarantine or could not be read, the rest is done |
| 130 | interrupted; run the same again, what was done is kept |"""

_VALUES = {"k": "N", "threads": "N", "text": "TEXT", "columns": "TEXT", "labels": "COLUMN", "dataset": "NAME"}

_OPENING = """# The command line

Written by `tapetum.cli.page.cli_page`; a test compares the two.
Research and second-reader support, not a cleared device.

`tapetum VERB INPUT… --out PLACE [recipe.toml] [key=value …]`

A word that ends in `.toml` is the recipe, whose table `[VERB]` fills the settings; a word that starts with a plain name
and `=` is a setting and wins over the recipe; everything else is an input (write a file named `a=b` as `./a=b`). The
result goes to stdout, remarks and progress to stderr. Lists are written with commas: `findings=glaucoma,cataract`.
"""


def cli_page() -> str:
    """The page as Markdown: opening, exit codes, options of all verbs, then each verb with options and settings."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    shared = [p for p in commands["doctor"].params if p.param_type_name == "option"]
    names = {p.name for p in shared}
    lines = [_OPENING, "## Exit codes", "", _EXIT_CODES, "", "## Options of every verb", "", *_options(shared)]
    lines += [
        "",
        "`OMP_WAIT_POLICY=PASSIVE`, `OPENBLAS_NUM_THREADS=1` and `HF_HUB_OFFLINE=1` are set where the environment says",
        "nothing else: waiting threads sleep, and nothing is ever downloaded.",
        "",
    ]
    for name, command in commands.items():
        own = [p for p in command.params if p.param_type_name == "option" and p.name not in names]
        words = next(p for p in command.params if p.param_type_name == "argument").metavar
        lines += [f"## {name}", "", str(command.help), "", f"`tapetum {name} {words}`".replace(" (nothing)", ""), ""]
        lines += [*_options(own), ""] if own else []
        settings = settings_text(name)
        lines += ["```text", settings.strip("\n"), "```", ""] if settings else []
    return "\n".join(lines).rstrip() + "\n"


def _options(parameters: list[Any]) -> Iterator[str]:
    for p in parameters:
        value = "" if p.is_flag else " " + _VALUES.get(p.name, "PATH")
        yield f"* `{', '.join(p.opts)}{value}` {p.help}"
