"""A scenario: settings that have been read and checked, and where they were read from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sim.decoding import decode
from sim.errors import ScenarioError
from sim.scenario.overrides import override
from sim.scenario.settings import Settings, as_plain
from sim.scenario.yaml_text import read_yaml


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
        where = f"scenario '{file}'"
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ScenarioError(f"{where} is not there{_nearby(file)}") from None
        except IsADirectoryError:
            raise ScenarioError(f"{where} is a folder; name a file{_files_in(file)}") from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            raise ScenarioError(f"{where} cannot be read: {reason}") from None
        tree = read_yaml(text, where)
        if isinstance(tree, dict):
            tree.setdefault("name", file.stem)
        return cls.of(tree, overrides, base=file.resolve().parent, where=where)

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
        for text in overrides:
            override(plain, text, Settings)
        made = decode(Settings, plain, where)
        return cls(made, base or Path.cwd())

    def but(self, **changes: Any) -> Scenario:
        """The same scenario with top-level settings replaced (already typed)."""
        return replace(self, settings=replace(self.settings, **changes))

    def to_yaml(self) -> str:
        """The resolved settings, defaults included."""
        return yaml.safe_dump(as_plain(self.settings), sort_keys=False, allow_unicode=True)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _nearby(file: Path) -> str:
    """What there is where the path to `file` ends: a near name, or the scenarios beside it."""
    folder = next((p for p in file.parents if p.is_dir()), None)
    if folder is None:
        return ""
    missing, *rest = file.relative_to(folder).parts
    known = [p.name for p in folder.iterdir() if p.is_dir() or p.suffix in (".yaml", ".yml")]
    near = difflib.get_close_matches(missing, known, n=1)
    if near:
        return f"; did you mean '{folder.joinpath(near[0], *rest)}'?"
    return _files_in(folder)


def _files_in(folder: Path) -> str:
    """`; in 'folder' there are a.yaml, b.yaml`."""
    found = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    if not found:
        return f"; '{folder}' has no .yaml file"
    more = ", …" if len(found) > 6 else ""
    return f"; in '{folder}' there are {', '.join(found[:6])}{more}"
