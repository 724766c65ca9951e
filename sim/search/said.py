"""What a design point says itself, which none of its changes may contradict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from sim.errors import ScenarioError
from sim.scenario.overrides import override
from sim.scenario.settings import Settings
from sim.search.point import Point

Path = tuple[str, ...]


def check_changes(point: Point, tree: dict[str, Any]) -> None:
    """ScenarioError for a change that sets what the point itself sets otherwise; `tree` is its
    scenario without changes."""
    said = [(path, value) for path, value in _said(point) if value is not None]
    after = deepcopy(tree)
    for change in point.changes:
        override(after, change, Settings)
        for path, value in said:
            if not _is(value, _at(after, path)):
                raise ScenarioError(
                    f"--set {change!r} contradicts {'.'.join(path)} = {value}, which an option "
                    "says; leave one of them out"
                )


def _said(point: Point) -> Iterator[tuple[Path, object]]:
    """(path, value) of what is not left at its default."""
    yield ("topology", "name"), point.topology
    yield ("topology", "nodes"), point.nodes
    split = point.split
    if split is not None:
        yield ("pools", "prefill", "engines"), split.prefill_engines
        yield ("pools", "decode", "engines"), split.decode_engines
        yield ("deployment",), "disaggregated"
    for name, (layout, _) in point.pools.items():
        given: dict[str, object] = {"precision": point.precision, "engine": point.engine}
        given |= {"layout": layout} if layout != "single" else {}
        given |= {"timer": point.timer} if point.timer != "calibrated" else {}
        yield from _leaves(given, ("pools", name))


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if not isinstance(value, Mapping) or not value:
        yield path, None if isinstance(value, Mapping) else value
        return
    for key, below in value.items():
        yield from _leaves(below, (*path, str(key)))


def _at(tree: Any, path: Path) -> Any:
    """What stands at a path; None if nothing does."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _is(value: object, found: object) -> bool:
    """Whether they say the same: `roofline` is also the beginning of `roofline: {…}`."""
    return value == found or (isinstance(found, Mapping) and list(found) == [value])
