"""A Hugging Face `config.json` under a reader that says which key of which file is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.catalog import files
from sim.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class Config:
    """The keys of one file. `null` is the same as absent, as it is to Hugging Face.

    Every getter raises ScenarioError in one sentence: file, key, what is there, what is expected.
    """

    file: str
    values: dict[str, Any]

    def has(self, key: str) -> bool:
        """Is `key` there, and not null?"""
        return self.values.get(key) is not None

    def wrong(self, key: str, expected: str) -> ScenarioError:
        """The error to raise about `key`."""
        if not self.has(key):
            return ScenarioError(f"{self.file}: '{key}' is missing; expected {expected}")
        there = json.dumps(self.values[key])
        shown = there if len(there) <= 80 else there[:77] + "..."
        return ScenarioError(f"{self.file}: '{key}' is {shown}; expected {expected}")

    def whole(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """The whole number under the first of `keys`, which are names for the same thing.

        With a default it may be absent. Two names that disagree are refused.
        """
        present = [k for k in keys if self.has(k)]
        if not present:
            if default is not None:
                return default
            also = "".join(f", or '{key}'" for key in keys[1:])
            raise self.wrong(keys[0], f"a whole number, {least} or more{also}")
        for key in present:
            value = self.values[key]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise self.wrong(key, f"a whole number, {least} or more")
            if value != self.values[present[0]]:
                raise self.wrong(key, f"the same as '{present[0]}', {self.values[present[0]]}")
        return int(self.values[present[0]])

    def flag(self, key: str, default: bool) -> bool:
        """The truth value under `key`."""
        value = self.values[key] if self.has(key) else default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def word(self, key: str, default: str | None = None) -> str:
        """The text under `key`."""
        value = self.values[key] if self.has(key) else default
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def words(self, key: str) -> list[str]:
        """The list of texts under `key`; empty when it is absent."""
        return [str(item) for item in self._items(key, str, "a list of texts")]

    def wholes(self, key: str) -> list[int]:
        """The list of whole numbers under `key`; empty when it is absent."""
        return [int(item) for item in self._items(key, int, "a list of whole numbers")]

    def section(self, key: str) -> Config:
        """The keys below `key`, as a Config whose messages name both."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "a group of keys")
        return Config(f"{self.file}: '{key}'", value)

    def sections(self, key: str) -> list[Config]:
        """The list of groups of keys under `key`, each a Config whose messages say which it is."""
        items = self._items(key, dict, "a list of groups of keys")
        return [Config(f"{self.file}: '{key}' {i}", item) for i, item in enumerate(items)]

    def number(self, key: str) -> float:
        """The positive number under `key`."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self.wrong(key, "a positive number")
        return float(value)

    def _items(self, key: str, kind: type, expected: str) -> list[Any]:
        value = self.values[key] if self.has(key) else []
        if not isinstance(value, list):
            raise self.wrong(key, expected)
        if any(isinstance(item, bool) or not isinstance(item, kind) for item in value):
            raise self.wrong(key, expected)
        return value


def read_config(path: Path) -> Config:
    """The config in `path`, or in `path/config.json`; ScenarioError when it cannot be read."""
    file = path / "config.json" if path.is_dir() else path
    if not file.exists():
        raise ScenarioError(f"{path} is a folder without a config.json")
    try:
        values = json.loads(files.read(file))
    except json.JSONDecodeError as problem:
        raise ScenarioError(
            f"{file} is not valid JSON: {problem.msg} in line {problem.lineno}, "
            f"column {problem.colno}"
        ) from problem
    if not isinstance(values, dict):
        raise ScenarioError(
            f"{file}: a model's config is a group of keys, not a {type(values).__name__}"
        )
    return Config(str(file), values)
