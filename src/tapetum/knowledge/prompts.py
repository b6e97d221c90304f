"""Prompts: the texts that stand for a finding when an image is compared with words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.knowledge.model import Pack


def prompts(pack: Pack, finding: str, *, prompt_set: str = "name") -> tuple[str, ...]:
    """English texts for one finding, the name first, each once.

    Args:
        pack: the domain pack.
        finding: id in the pack.
        prompt_set: `"name"`: name and synonyms; `"grades"`: name and the names of everything below it;
            `"descriptions"`: name, synonyms and the expert descriptions of what is seen.

    Raises:
        UsageError: unknown finding or prompt set; the message names the nearest.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> prompts(load_pack("fundus"), "macular_hole")[0]
        'macular hole'
    """
    pack.finding(finding)
    if prompt_set not in _SETS:
        raise UsageError(f"unknown prompt set {prompt_set!r}", nearest(prompt_set, list(_SETS)), "prompt_set=name")
    return tuple(dict.fromkeys(_SETS[prompt_set](pack, finding)))


def shelf(pack: Pack, finding: str) -> str:
    """Name of the nearest group above a finding, `""` where there is none.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> shelf(load_pack("fundus"), "mild_npdr")
        'retinal vascular disease'
    """
    above = (finding, *pack.ancestors(finding))
    return next((pack.findings[f].name for f in above if pack.findings[f].level == "group"), "")


def place(pack: Pack, finding: str) -> str:
    """Where in the image a finding is seen, `""` where the pack does not say.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> place(load_pack("fundus"), "macular_hole"), place(load_pack("fundus"), "normal_fundus")
        ('the macula', '')
    """
    above = (finding, *pack.ancestors(finding))
    return next((found for f in above if (found := pack.findings[f].place)), "")


def _names(pack: Pack, finding: str) -> list[str]:
    entry = pack.findings[finding]
    return [entry.name, *entry.synonyms.get("en", ())]


def _grades(pack: Pack, finding: str) -> list[str]:
    return [pack.findings[name].name for name in (finding, *pack.descendants(finding))]


def _descriptions(pack: Pack, finding: str) -> list[str]:
    return [*_names(pack, finding), *pack.findings[finding].descriptions]


_SETS: Mapping[str, Callable[[Pack, str], list[str]]] = {
    "name": _names,
    "grades": _grades,
    "descriptions": _descriptions,
}
