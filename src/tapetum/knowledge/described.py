"""Findings described in plain or textbook words: patterns of alternatives, all followed at once.

A pattern such as "(yellow|pale) (deposit|spot) (under|beneath) the (retina|macula)" stands for every choice of its
alternatives; an empty one may be left out. Written out, the patterns would be hundreds of thousands of phrases; here
they are the edges of one automaton, whose steps are worked out when a text first takes them. Articles, hyphens and
brackets between words do not matter.

Source: Rabin and Scott, IBM Journal of Research and Development 1959 (subset construction). Differs: words instead of
letters, states are made when they are first reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tapetum.knowledge.phrases import Hit, Word, words

_PART = re.compile(r"\(([^()]*)\)|([^()]+)")
_SKIPPED = frozenset({"the", "a", "an", "some", "its", "-", "‐", "‑", "–", "/", "(", ")", ":"})
_SHORT = 2
# States are forgotten when there are more.
_MOST = 20000


class _State:
    """What may have been read so far: nodes of the automaton, the finding read in full, and the steps from here."""

    __slots__ = ("finding", "moves", "nodes")

    def __init__(self, nodes: frozenset[int], finding: str) -> None:
        self.nodes, self.finding = nodes, finding
        self.moves: dict[str, _State | None] = {}


class Described:
    """The patterns of a pack, ready to be found.

    Args:
        patterns: pairs of pattern and finding; where two findings share a phrase, the first counts.

    Example:
        >>> lens = Described([("(cloudy|hazy) lens", "cataract"), ("clouding of the lens", "cataract")])
        >>> lens.find(words("Hazy lens, no clouding of lens"))
        [Hit(first=0, last=2, value='cataract'), Hit(first=4, last=7, value='cataract')]
    """

    def __init__(self, patterns: Iterable[tuple[str, str]]) -> None:
        self._edges: list[dict[str, set[int]]] = [{}]
        self._ends: dict[int, tuple[int, str]] = {}
        self._capitals: set[str] = set()
        for number, (pattern, finding) in enumerate(patterns):
            for node in self._add(pattern):
                self._ends.setdefault(node, (number, finding))
        self._states: dict[frozenset[int], _State] = {}
        self._start = self._state(frozenset({0}))
        self._opening = frozenset(self._edges[0])

    def find(self, found: Sequence[Word]) -> list[Hit]:
        """The longest description at each place, from the left, without overlaps."""
        capitals = self._capitals
        keys = [word[2] if word[2] in capitals else word[3] for word in found]
        opening = self._opening
        if opening.isdisjoint(keys):
            return []
        if len(self._states) > _MOST:
            self._states.clear()
            self._start = self._state(frozenset({0}))
        hits: list[Hit] = []
        free, n = 0, len(keys)
        for first in [at for at, key in enumerate(keys) if key in opening]:
            if first < free:
                continue
            state: _State | None = self._start
            best = Hit(0, 0, "")
            for i in range(first, n):
                key = keys[i]
                following = state.moves.get(key, self._start)
                if following is self._start:
                    following = self._step(state, key)
                if following is not None:
                    state = following
                    if state.finding:
                        best = Hit(first, i + 1, state.finding)
                elif key not in _SKIPPED:
                    break
            if best.last:
                hits.append(best)
                free = best.last
        return hits

    def _step(self, state: _State, key: str) -> _State | None:
        nodes = frozenset[int]().union(*(self._edges[node].get(key, ()) for node in state.nodes))
        following = state.moves[key] = self._state(nodes) if nodes else None
        return following

    def _state(self, nodes: frozenset[int]) -> _State:
        if nodes not in self._states:
            read = [self._ends[node] for node in nodes if node in self._ends]
            self._states[nodes] = _State(nodes, min(read)[1] if read else "")
        return self._states[nodes]

    def _add(self, pattern: str) -> set[int]:
        """Lay the edges of a pattern; the nodes at which it has been read in full."""
        here = {0}
        for match in _PART.finditer(pattern):
            options = [self._keys(option) for option in (match[1] if match[2] is None else match[2]).split("|")]
            end = self._node()
            for option in filter(None, options):
                nodes = here
                for key in option[:-1]:
                    node = self._node()
                    self._link(nodes, key, node)
                    nodes = {node}
                self._link(nodes, option[-1], end)
            here = {end, *here} if [] in options else {end}
        return here - {0}

    def _keys(self, text: str) -> list[str]:
        every: list[str] = []
        for word in words(text):
            if word.key not in _SKIPPED:
                capital = word.raw.isupper() and word.raw.isalpha() and len(word.raw) <= _SHORT
                self._capitals.update([word.raw] if capital else [])
                every.append(word.raw if capital else word.key)
        return every

    def _node(self) -> int:
        self._edges.append({})
        return len(self._edges) - 1

    def _link(self, nodes: Iterable[int], key: str, end: int) -> None:
        for node in nodes:
            self._edges[node].setdefault(key, set()).add(end)
