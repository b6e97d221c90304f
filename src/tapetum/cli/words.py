"""What stands on a command line: inputs, a recipe, and `key=value` settings."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tapetum.core.config import load
from tapetum.core.errors import UsageError

C = TypeVar("C")
# A path such as ./a=b or data/x=1/ is no setting: what stands before the = of a setting is a plain name.
_SETTING = re.compile(r"[A-Za-z_]\w*=.*", flags=re.S)


@dataclass(frozen=True)
class Words:
    """The positional words of a command, sorted by what they are.

    Attributes:
        inputs: paths and names. recipe: the word that ends in `.toml`. settings: `key=value` texts, in order.
        log: `csv` or `tensorboard`, from `log=…`; no setting, since it changes nothing of the result.
    """

    inputs: tuple[str, ...] = ()
    recipe: Path | None = None
    settings: tuple[str, ...] = ()
    log: str = ""

    def config(self, cls: type[C], table: str, *, also: Sequence[str] = ()) -> C:
        """Fill a config dataclass: defaults, then the recipe's `[table]`, then `also`, then the settings.

        Args:
            cls: the dataclass.
            table: the verb.
            also: settings that came by another way, for example by an option; empty values are left out.

        Raises:
            UsageError: an unknown key (the nearest is named), a wrong type, a recipe that cannot be read.
        """
        given = [text for text in also if text.partition("=")[2]]
        return load(cls, table, self.recipe, [_listed(cls, text) for text in (*given, *self.settings)])


def sort_words(words: Sequence[str], *, logs: bool = False) -> Words:
    """Tell inputs, recipe and settings apart.

    A word that ends in `.toml` is the recipe; one that starts with a plain name and `=` is a setting; the rest are
    inputs.
    A file whose name looks like a setting is written with its folder: `./seed=3`.

    Args:
        words: as typed.
        logs: the verb trains, so that `log=…` says what is written of it.

    Raises:
        UsageError: two recipes.

    Example:
        >>> sort_words(["clinic.tap", "odir.toml", "seed=3", "./a=b"])
        Words(inputs=('clinic.tap', './a=b'), recipe=PosixPath('odir.toml'), settings=('seed=3',), log='')
    """
    settings = [word for word in words if _SETTING.fullmatch(word)]
    recipes = [word for word in words if word not in settings and word.endswith(".toml")]
    if len(recipes) > 1:
        raise UsageError(f"two recipes: {' and '.join(recipes)}", "one", f"… {recipes[0]}")
    inputs = [word for word in words if word not in settings and word not in recipes]
    log = [word for word in settings if logs and word.startswith("log=")]
    return Words(
        tuple(inputs), Path(recipes[0]) if recipes else None, tuple(s for s in settings if s not in log),
        log[-1].removeprefix("log=") if log else "",
    )  # fmt: skip


def _listed(cls: type, text: str) -> str:
    """`findings=a,b` as a list where the field is one; other texts as they are."""
    key, _, value = text.partition("=")
    if key not in {f.name for f in dataclasses.fields(cls)}:
        return text
    if typing.get_origin(typing.get_type_hints(cls)[key]) is not tuple:
        return text
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return f"{key}={tuple(part.strip() for part in value.split(',') if part.strip())!r}"
    return text
