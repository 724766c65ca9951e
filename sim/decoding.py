"""From what a user wrote to checked settings, or one sentence that says what is wrong with it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sim.errors import ScenarioError, suggest

T = TypeVar("T")

Path = tuple[str, ...]
Problem = Any
"""One entry of `ValidationError.errors()`."""

UNKNOWN = "unexpected_keyword_argument"

_BOUNDS = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "finite_number": "finite",
    "too_short": "a mapping with at least {min_length} entry",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "dataclass": "a mapping of settings",
    "dict": "a mapping",
    "list": "a list",
    "tuple": "a list",
}
"""What a value must be, by the first word of pydantic's type of error."""


class SettingError(ValueError):
    """A mistake below a setting that is decoded on its own (a policy): its path, and what follows
    it in the sentence, with the blank or colon between them."""

    def __init__(self, path: str, says: str) -> None:
        super().__init__(f"'{path}'{says}")
        self.path = path
        self.says = says


def decode(cls: type[T], value: object, where: str) -> T:
    """`value` (plain mappings and lists) as `cls`; ScenarioError, beginning with `where`."""
    try:
        return TypeAdapter(cls).validate_python(value)
    except ValidationError as problem:
        path, says = first_problem(problem, cls)
        raise ScenarioError(f"{where}: '{path}'{says}" if path else f"{where}{says}") from None


def first_problem(error: ValidationError, cls: Any) -> tuple[str, str]:
    """(path of the setting, what is wrong with it) for the first problem that pydantic found; the
    second part begins with a blank or a colon.

    A misspelt setting comes before a missing one, as it is often the reason. Where a setting may
    be one of several things, it is the problem of the nearest of them.
    """
    problems: list[Problem] = list(error.errors(include_url=False))
    paths = [_path(cls, p) for p in problems]
    one = next((i for i, p in enumerate(problems) if p["type"] == UNKNOWN), 0)
    alike = [i for i, p in enumerate(paths) if p[: len(paths[one])] == paths[one]]
    deepest = max(len(paths[i]) for i in alike)
    nearest = [i for i in alike if len(paths[i]) == deepest]
    at = next((i for i in nearest if not _is_kind(problems[i])), nearest[0])
    path, first = ".".join(paths[at]), problems[at]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, SettingError):
        return f"{path}.{inner.path}" if path else inner.path, inner.says
    if first["type"] == UNKNOWN:
        return path, f" is not a setting{_meant(cls, paths[at])}"
    if first["type"] in ("missing", "missing_argument"):
        return path, f" is missing; write it{_meaning(cls, paths[at])}"
    if inner is not None:
        return path, _complaint(first["input"], str(inner))
    return path, _must_be([problems[i] for i in nearest if paths[i] == paths[at]])


def _complaint(given: object, message: str) -> str:
    """What a settings class says itself; it has often quoted the value already."""
    if isinstance(given, (dict, list)):
        return f": {message}"
    if given is None:
        return f" is empty; {message}"
    return f" = {message}" if message.startswith(repr(given)) else f" = {given!r}: {message}"


def _must_be(problems: Sequence[Problem]) -> str:
    """` is 'two'; it must be a whole number`."""
    wanted = list(dict.fromkeys(_wanted(p) for p in problems))
    expected = problems[0].get("ctx", {}).get("expected", "")
    given = problems[0]["input"]
    near = suggest(given, expected.split("'")[1::2]) if isinstance(given, str) and expected else ""
    return f" is {_shown(given)}; it must be {' or '.join(wanted)}{near if '?' in near else ''}"


def _wanted(problem: Problem) -> str:
    kind = problem["type"]
    if kind == "too_short" and isinstance(problem["input"], (list, tuple)):
        least = problem["ctx"]["min_length"]
        return f"a list with at least {least} {'entry' if least == 1 else 'entries'}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**problem.get("ctx", {}))  # `finite_number` has none
    known = _KINDS.get(kind.split("_")[0])
    return known or f"otherwise ({problem['msg'].lower()})"


def _is_kind(problem: Problem) -> bool:
    return str(problem["type"]).endswith("_type")


def _shown(given: object) -> str:
    """A value as the user would know it again."""
    if given is None:
        return "empty"
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, dict):
        return "a mapping" if given else "empty"
    if isinstance(given, (list, tuple)):
        return "a list" if given else "empty"
    return repr(given)


def _path(cls: Any, problem: Problem) -> Path:
    """Where a problem is, without the parts of pydantic's location that name types."""
    at, path = cls, list[str]()
    loc = problem["loc"]
    for i, part in enumerate(loc):
        below = _below(at, part)
        if below is not None:
            at = below
        elif i < len(loc) - 1 or problem["type"] != UNKNOWN:
            continue
        path.append(str(part))
    return tuple(path)


def _below(at: Any, part: int | str) -> Any:
    """The type of what stands under `part` in a value of type `at`; None if nothing can."""
    for cls in dataclasses_in(at):
        hints = typing.get_type_hints(cls, include_extras=True)
        if part in hints:
            return hints[str(part)]
    for container in _containers_in(at):
        named = typing.get_origin(container) is dict and not str(part).startswith("[")
        if named or str(part).isdigit():
            arguments = [a for a in typing.get_args(container) if a is not ...]
            return arguments[-1]
    return None


def _meant(cls: Any, path: Path) -> str:
    """Where an unknown setting may belong: elsewhere under its own name, or here misspelt."""
    word, at = path[-1], cls
    for part in path[:-1]:
        at = _below(at, part)
    here = [f.name for c in dataclasses_in(at) for f in dataclasses.fields(c)]
    near = suggest(word, here)
    if "did you mean" not in near:
        elsewhere = next((p for p in _places(cls) if p[-1] == word and len(p) > 1), None)
        if elsewhere:
            return f"; did you mean '{'.'.join(elsewhere)}'?"
    return near or "; it has none"


def _places(at: Any, above: Path = ()) -> Iterator[Path]:
    """Paths of all settings below a type, those of policies left out."""
    for cls in dataclasses_in(at):
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            if typing.get_origin(hint) is not typing.ClassVar:
                yield (*above, name)
                yield from _places(hint, (*above, name))
    for container in _containers_in(at):
        if typing.get_origin(container) is dict:
            yield from _places(typing.get_args(container)[-1], (*above, "NAME"))


def _meaning(cls: Any, path: Path) -> str:
    """What a missing setting is, in brackets, where its class tells."""
    at = cls
    for part in path[:-1]:
        at = _below(at, part)
    says = next((m[path[-1]] for c in dataclasses_in(at) if path[-1] in (m := meanings(c))), "")
    return f" ({says.rstrip('.')})" if says else ""


def meanings(cls: type[Any]) -> dict[str, str]:
    """The docstrings that stand under the fields of a settings class, on one line each."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def dataclasses_in(hint: Any) -> list[Any]:
    """Dataclasses that a type hint admits, those inside containers left out."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    if typing.get_origin(hint) in (dict, list, tuple):
        return []
    return [c for a in typing.get_args(hint) for c in dataclasses_in(a)]


def _containers_in(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (dict, list, tuple):
        return [hint]
    return [c for a in typing.get_args(hint) for c in _containers_in(a)]
