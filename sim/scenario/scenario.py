"""A scenario: settings that have been read and checked, and where they were read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sim.decoding import decode
from sim.errors import ScenarioError
from sim.scenario.settings import Settings, as_plain


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to simulate. `Scenario.load(path)` reads a file, `Scenario.of(mapping)` a mapping."""

    settings: Settings
    base: Path = field(default_factory=Path.cwd)
    """Folder against which relative paths are also resolved."""

    @classmethod
    def load(cls, path: Path | str, overrides: Iterable[str] = ()) -> Scenario:
        """Read a YAML file and apply overrides of the form `a.b=c`.

        Raises ScenarioError, in one sentence, on whatever is wrong with it.
        """
        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ScenarioError(f"scenario '{file}' cannot be read: {reason}") from error
        tree = _yaml(text, f"scenario '{file}'")
        return cls.of(tree, overrides, base=file.resolve().parent, where=f"scenario '{file}'")

    @classmethod
    def of(
        cls,
        tree: object,
        overrides: Iterable[str] = (),
        *,
        base: Path | None = None,
        where: str = "scenario",
    ) -> Scenario:
        """A scenario from plain mappings, as YAML gives them."""
        if not isinstance(tree, Mapping):
            raise ScenarioError(f"{where} must be a mapping with workload, model, topology, pools")
        plain = _copy(tree)
        for override in overrides:
            _override(plain, override)
        made = decode(Settings, plain, where)
        return cls(made, base or Path.cwd())

    def but(self, **changes: Any) -> Scenario:
        """The same scenario with top-level settings replaced (already typed)."""
        return replace(self, settings=replace(self.settings, **changes))

    def to_yaml(self) -> str:
        """The resolved settings, defaults included."""
        return yaml.safe_dump(as_plain(self.settings), sort_keys=False, allow_unicode=True)


def _yaml(text: str, where: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise ScenarioError(f"{where}{at}: {problem}") from error


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _override(tree: dict[str, Any], override: str) -> None:
    """Apply `a.b=c`: the value is YAML, mappings on the way are made as needed. A policy written
    as a bare name becomes a mapping when a setting below it is given."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ScenarioError(f"--set {override!r} is not of the form path.to.setting=value")
    at: dict[str, Any] = tree
    for key in keys[:-1]:
        below = at.get(key)
        if isinstance(below, str):
            below = {below: {}}
        if below is None:
            below = {}
        if not isinstance(below, dict):
            raise ScenarioError(f"--set {override!r}: '{key}' is {below!r}, not a mapping")
        at[key] = below
        at = below
    at[keys[-1]] = _yaml(text, f"--set {override!r}")
