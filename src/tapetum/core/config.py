"""Configuration: a frozen dataclass beside its function, filled from a recipe and from `key=value`.

Order: the dataclass's defaults, then the verb's table of `recipe.toml`, then `key=value` from the command line.
An unknown key is an error that names the nearest one; nothing is left to guess when the run starts.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest

C = TypeVar("C")


def fill(cls: type[C], values: Mapping[str, Any]) -> C:
    """Build the config dataclass `cls` from `values`, checking every key and type.

    Raises:
        UsageError: unknown key (the nearest one is named) or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"unknown key {key!r} for {cls.__name__}", nearest(key, known), f"{known[0]}=…")
        checked[key] = _coerce(key, value, hints[key])
    missing = [
        f.name for f in dataclasses.fields(typing.cast(Any, cls))
        if f.name not in checked and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    if missing:
        raise UsageError(f"{cls.__name__} lacks {missing[0]!r}", "a value", f"{missing[0]}=…")
    return cls(**checked)


def load(cls: type[C], table: str, recipe: Path | None = None, assignments: Sequence[str] = ()) -> C:
    """Read `cls` from the table `[table]` of a recipe and from `key=value` texts, the latter winning.

    Args:
        cls: the config dataclass.
        table: the verb, and the table's name in the recipe.
        recipe: a TOML file, or None.
        assignments: texts such as `"seed=3"` or `"task=ridge(power=0.5)"`.

    Raises:
        UsageError: the recipe cannot be read, an assignment has no `=`, or `fill` refuses.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        values.update(_read(recipe, table))
    hints = typing.get_type_hints(cls)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"cannot read {text!r}", "key=value", f"{text}=…")
        # a text field takes the text as typed: name=1.10 is not 1.1
        values[key.strip()] = value.strip() if hints.get(key.strip()) is str else _literal(value.strip())
    return fill(cls, values)


def digest(config: Any) -> str:
    """SHA-256 of a config dataclass: equal settings, equal digest."""
    text = json.dumps(dataclasses.asdict(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(recipe: Path, table: str) -> Mapping[str, Any]:
    try:
        tables = tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"no recipe {recipe}", "a TOML file", "ls recipes/*.toml") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{recipe} is not TOML: {error}", "key = value under [verb]") from None
    found = tables.get(table)
    if not isinstance(found, dict):
        raise UsageError(f"{recipe} has no table [{table}]", f"[{table}]; it has {nearest(table, list(tables))}")
    return typing.cast(Mapping[str, Any], found)


def _literal(text: str) -> Any:
    if text in ("true", "false"):  # as recipes and messages write them
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return text


def _coerce(key: str, value: Any, hint: Any) -> Any:
    """Fit a value to its annotated type, or refuse: no silent conversion but int→float, str→Path, list→tuple."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        for option in args:
            try:
                return _coerce(key, value, option)
            except UsageError:
                continue
    elif origin is typing.Literal and value in args:
        return value
    elif origin is tuple:
        items = value if isinstance(value, list | tuple) else (value,)
        return tuple(_coerce(key, item, args[0]) for item in typing.cast(Sequence[Any], items))
    elif hint is Path and isinstance(value, str | Path):
        return Path(value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is str and isinstance(value, str | int | float):
        return str(value)
    elif isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UsageError(f"{key}={value!r} has the wrong type", str(getattr(hint, "__name__", hint)), f"{key}=…")
