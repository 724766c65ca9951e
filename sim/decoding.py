"""From what a user wrote to checked settings, or one sentence that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sim.errors import ScenarioError, suggest

T = TypeVar("T")


class SettingError(ValueError):
    """A mistake below a setting that is decoded on its own (a policy): its path and the rest."""

    def __init__(self, path: str, says: str) -> None:
        super().__init__(f"'{path}' {says}")
        self.path = path
        self.says = says


def decode(cls: type[T], value: object, where: str) -> T:
    """`value` (plain mappings and lists) as `cls`; ScenarioError, beginning with `where`."""
    try:
        return TypeAdapter(cls).validate_python(value)
    except ValidationError as problem:
        path, says = first_problem(problem, cls)
        raise ScenarioError(
            f"{where}: '{path}' {says}" if path else f"{where}: {says}"
        ) from problem


def first_problem(error: ValidationError, cls: Any) -> tuple[str, str]:
    """(path of the setting, what is wrong with it) for the first problem that pydantic found."""
    first = error.errors(include_url=False)[0]
    loc = [p for p in first["loc"] if not _is_branch(p)]
    path = ".".join(str(part) for part in loc)
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, SettingError):
        return f"{path}.{inner.path}" if path else inner.path, inner.says
    if first["type"] == "unexpected_keyword_argument":
        return path, f"is not a setting{suggest(str(loc[-1]), _settings_at(cls, loc[:-1]))}"
    if first["type"] in ("missing", "missing_argument"):
        return path, "is missing"
    given = first["input"]
    shown = "" if isinstance(given, (dict, list)) or given is None else f" {given!r}"
    message = str(inner) if inner is not None else first["msg"].lower()
    if shown and repr(given) in message:
        return path, f"= {message}" if message.startswith(repr(given)) else f"is wrong: {message}"
    return path, f"is{shown}, which is wrong: {message}" if shown else f"is wrong: {message}"


def _is_branch(part: int | str) -> bool:
    """Whether a part of pydantic's location names a type rather than a setting."""
    return isinstance(part, str) and ("[" in part or part.startswith(("function-", "nullable")))


def _settings_at(cls: Any, path: Sequence[int | str]) -> list[str]:
    """Names of the settings that may be written at a path below `cls`."""
    at = cls
    for part in path:
        at = _step(at, part)
    fields = _dataclasses_in(at)
    return [f.name for c in fields for f in dataclasses.fields(c)]


def _step(at: Any, part: int | str) -> Any:
    for cls in _dataclasses_in(at):
        hints = typing.get_type_hints(cls)
        if isinstance(part, str) and part in hints:
            return hints[part]
    arguments = typing.get_args(at)
    return arguments[-1] if arguments and typing.get_origin(at) is dict else at


def _dataclasses_in(hint: Any) -> list[Any]:
    """Dataclasses that a type hint admits."""
    if dataclasses.is_dataclass(hint):
        return [hint]
    return [c for a in typing.get_args(hint) for c in _dataclasses_in(a)]
