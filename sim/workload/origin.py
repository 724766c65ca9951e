"""Where the rows of a trace stand in what the user wrote, so that a refusal can point at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class Origin:
    """Rows on consecutive lines of a file; row 0 is on `first_line` (lines count from 1)."""

    file: str = "generated requests"
    first_line: int = 1
    names: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column → the file's name of it; a column that is absent has one name."""

    def refuse(self, row: int, column: str, value: object, complaint: str) -> ScenarioError:
        """The error to raise about one value: file, line, column, value, and what is wrong."""
        line, name = self.first_line + row, self.names.get(column, column)
        return ScenarioError(f"{self.file}, line {line}, column {name}: {value} {complaint}")

    def refuse_line(self, row: int, complaint: str) -> ScenarioError:
        """The error to raise about a whole line."""
        return ScenarioError(f"{self.file}, line {self.first_line + row}: {complaint}")
