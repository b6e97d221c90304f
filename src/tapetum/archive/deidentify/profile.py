"""The allow-list of header attributes, read from `profile.toml`."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from pydicom.datadict import tag_for_keyword

from tapetum.core.errors import ArtefactError

ACTIONS = ("keep", "uid", "date", "patient", "token", "empty", "device", "descriptor", "code")


@dataclass(frozen=True)
class Profile:
    """What happens to an attribute; one that is not in `action` is removed.

    Attributes:
        action: tag → one of `ACTIONS`, or `standard` for UIDs of classes.
        identifying: tags whose values are searched for afterwards. empty_in_basic: dates that may be empty.
        words: of descriptions, lower case. schemes: of codes. image_type: defined terms of Image Type.
        vocabulary: words of the standard, lower case, that are no names where they stand in a kept attribute.
    """

    version: int
    action: Mapping[int, str]
    identifying: frozenset[int]
    empty_in_basic: frozenset[int]
    words: frozenset[str]
    schemes: frozenset[str]
    image_type: frozenset[str]
    vocabulary: frozenset[str]


@functools.cache
def load_profile() -> Profile:
    """The table that comes with the package.

    Raises:
        ArtefactError: it names an attribute that the standard does not know, or one attribute twice.
    """
    said = tomllib.loads((files("tapetum.archive.deidentify") / "profile.toml").read_text(encoding="utf-8"))
    action: dict[int, str] = {}
    for name in ACTIONS:
        table = said[name]
        listed = [k for part in table.values() for k in part] if name == "keep" else table["attributes"]
        for keyword in listed:
            _enter(action, keyword, name)
    for keyword in said["uid"]["standard"]:
        _enter(action, keyword, "standard")
    # The class of the object itself is the name of a class, too.
    action[_tag("SOPClassUID")] = "standard"
    return Profile(
        version=int(said["version"]),
        action=action,
        identifying=frozenset(_tag(k) for k in said["identifying"]["attributes"]),
        empty_in_basic=frozenset(_tag(k) for k in said["date"]["empty_in_basic"]),
        words=frozenset(said["descriptor"]["words"]),
        schemes=frozenset(said["code"]["schemes"]),
        image_type=frozenset(said["terms"]["image_type"]),
        vocabulary=frozenset(w.lower() for w in (*said["terms"]["vocabulary"], *said["terms"]["image_type"])),
    )


def _enter(action: dict[int, str], keyword: str, name: str) -> None:
    tag = _tag(keyword)
    if tag in action:
        raise ArtefactError(f"profile.toml lists {keyword} twice ({action[tag]}, {name})", "one action for each")
    action[tag] = name


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ArtefactError(f"profile.toml names {keyword!r}", "an attribute of the DICOM dictionary")
    return tag
