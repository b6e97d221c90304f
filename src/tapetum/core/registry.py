"""Families: a folder in which one file is one method and the file name is its name.

The file system is the registry. `Family("tapetum.score.calibration").build("temperature()")` finds the file, imports it
only now, checks name and options and binds them. A spec string such as `"knn(k=50)"` is at once the value in a recipe,
the argument on the command line, the row label of a table and a cache key.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tapetum.core.errors import UsageError


@dataclass(frozen=True)
class Spec:
    """A method's name with its options, as written in `"knn(k=50)"`."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        """The canonical text: options sorted by name, so that equal specs are equal strings."""
        inside = ", ".join(f"{key}={value!r}" for key, value in sorted(self.options.items()))
        return f"{self.name}({inside})"

    @staticmethod
    def parse(text: str) -> Spec:
        """Read `"name"` or `"name(option=literal, …)"`; nothing is ever evaluated.

        Raises:
            UsageError: the text is not a name with keyword options that are literals.

        Example:
            >>> str(Spec.parse("knn(weighted=true, k=50)"))
            'knn(k=50, weighted=True)'
        """
        wrong = UsageError(
            f"cannot read the method {text!r}",
            "a name with options that are numbers, true, false, text in quotes or (…, …): knn(k=50)", "tapetum list",
        )  # fmt: skip
        try:
            node = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise wrong from None
        if isinstance(node, ast.Name):
            return Spec(node.id)
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)) or node.args:
            raise wrong
        try:
            options = {str(k.arg): _literal(k.value) for k in node.keywords if k.arg}
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise wrong from None
        if len(options) != len(node.keywords):
            raise wrong
        return Spec(node.func.id, options)


def _literal(node: ast.expr) -> Any:
    """A Python literal, or `true` and `false` as recipes and settings write them."""
    if isinstance(node, ast.Name) and node.id in ("true", "false"):
        return node.id == "true"
    return ast.literal_eval(node)


def nearest(name: str, names: list[str] | tuple[str, ...]) -> str:
    """A hint that names the nearest known name, or lists all of them."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    known = ", ".join(sorted(names)) or "none"
    return f"{close[0]!r} (all: {known})" if close else f"one of: {known}"


@dataclass(frozen=True)
class Family:
    """All methods of one kind, found in one package.

    Args:
        package: dotted name of the folder, for example `"tapetum.score.metrics"`.

    Example:
        >>> "temperature" in Family("tapetum.score.calibration").names()
        True
    """

    package: str

    def names(self) -> tuple[str, ...]:
        """Names of the members, sorted; imports none of them."""
        path = importlib.import_module(self.package).__path__
        return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))

    def member(self, name: str) -> Callable[..., Any]:
        """The function or class that the file `name` defines.

        Raises:
            UsageError: no file of that name; the message names the nearest one.
        """
        if name not in self.names():
            raise UsageError(f"unknown name {name!r} in {self.package}", nearest(name, self.names()), "tapetum list")
        module = importlib.import_module(f"{self.package}.{name}")
        exported = list(module.__all__)
        if len(exported) != 1:
            raise TypeError(f"{module.__name__}.__all__ must hold exactly one name, found {exported}")
        return getattr(module, exported[0])

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options of a member: the fields of a dataclass, the keyword-only arguments of a function."""
        member = self.member(name)
        parameters = inspect.signature(member).parameters
        if inspect.isclass(member):
            return dict(parameters)
        return {k: p for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def build(self, spec: str | Spec, **context: Any) -> Any:
        """Find, import, check and bind: a fit-family member becomes an instance, a function a partial.

        Args:
            spec: name and options, for example `"knn(k=50)"`.
            context: values that the caller supplies and no recipe may set (a generator, a path).

        Raises:
            UsageError: unknown name or unknown option; the message names the nearest one.
        """
        parsed = Spec.parse(spec) if isinstance(spec, str) else spec
        member, known = self.member(parsed.name), self.options(parsed.name)
        for option in parsed.options:
            if option not in known:
                raise UsageError(
                    f"unknown option {option!r} of {parsed.name}", nearest(option, list(known)), "tapetum list"
                )
        bound = {**parsed.options, **context}
        return member(**bound) if inspect.isclass(member) else functools.partial(member, **bound)

    def summary(self, name: str) -> str:
        """The first line of the member's docstring."""
        return (inspect.getdoc(self.member(name)) or "").split("\n", maxsplit=1)[0]
