"""`tapetum bench all`: every family of questions in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tapetum.cli import plans
from tapetum.cli.frame import Run, need, note
from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec, nearest
from tapetum.core.store import plain_json

if TYPE_CHECKING:
    from tapetum.archive import Archive
    from tapetum.bench import BenchConfig
    from tapetum.bench.whole import Planned
    from tapetum.learn import Model

ALL = "all"


def is_whole(words: str) -> bool:
    """Whether the protocol that was named is all of them.

    Example:
        >>> is_whole("all"), is_whole("all(parts=('noise',))"), is_whole("noise")
        (True, True, False)
    """
    return words == ALL or words.startswith(f"{ALL}(")


def bench_all(
    run: Run, archive: Archive, config: BenchConfig, test: Archive | None, model: Model | None, out: Path | None
) -> None:
    """Run it, tell the summary; code 3 where something that was to be asked got no answer."""
    from tapetum.bench.whole import bench_all, planned

    parts = _parts(run.inputs[0])
    if run.dry_run:
        _plan(run, archive, config, test, model, out, planned(archive, config, test, parts))
    place = need(out, "--out")
    with run.progress("embedding") as progress:
        whole = bench_all(
            archive, config, out=place, test=test, model=model, parts=parts, progress=progress, say=note
        )  # fmt: skip
    run.tell(
        whole.table(), plain_json(whole.as_dict()), wrote=[place, place / "report.html"],
        then=f"open {place / 'report.html'}; the same command goes on where it was", partial=whole.partial,
    )  # fmt: skip


def _parts(words: str) -> tuple[str, ...]:
    """The option of `all`.

    Raises:
        UsageError: another option.
    """
    options = dict(Spec.parse(words).options)
    asked = options.pop("parts", ())
    if options:
        name = next(iter(options))
        raise UsageError(f"unknown option {name!r} of all", nearest(name, ["parts"]), "all(parts=('noise', 'ood'))")
    return (asked,) if isinstance(asked, str) else tuple(asked)


def _plan(
    run: Run, archive: Archive, config: BenchConfig, test: Archive | None, model: Model | None, out: Path | None,
    plan: Sequence[Planned],
) -> None:  # fmt: skip
    """What would be asked, and what would not and why."""
    asked = [
        f"{one.name}: {one.spec}{' on the other archive' * (one.where == 'other')}" for one in plan if not one.left_out
    ]
    left = [f"{one.name}: {one.left_out}" for one in plan if one.left_out]
    encoders = model.encoders if model else config.encoders
    plans.training(
        run, archive, config, encoders, out, test, asks="; ".join(asked), left_out="; ".join(left) or None
    )  # fmt: skip
