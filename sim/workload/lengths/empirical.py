"""Lengths drawn from the rows of a file."""

from __future__ import annotations

import posixpath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.rng import Draws
from sim.settings import settings
from sim.workload.cells import cells_of, csv_pieces, whole_numbers
from sim.workload.origin import Origin
from sim.workload.reading import find_file, read_trace
from sim.workload.text import head

OF_A_TRACE = ("prompt_tokens", "output_tokens")


@settings
class Empirical:
    """A column of a CSV file (gzipped or not), or of a trace in any known format.

    Rows are drawn with replacement. Two lengths on the same path draw the same row for the same
    request, so that a prompt and its answer stay a pair.
    """

    path: str
    """The file; a relative path is looked up from the current directory, then beside the
    scenario."""
    column: str
    """A column of the CSV's header, or `prompt_tokens` or `output_tokens` of a trace."""

    def sample(
        self, draws: Draws, numbers: NDArray[np.int64], base: Path | None = None
    ) -> NDArray[np.int64]:
        """(n,) tokens; ScenarioError when the file lacks the column or a value is below 1.

        The row is drawn from the stream's first part (`workload` of `workload.prompt_tokens`)
        and the path as it is written, hence the pairs.
        """
        values = self.values(base)
        family = draws.stream.partition(".")[0]
        rows = Draws(draws.seed, f"{family}.rows_of.{posixpath.normpath(self.path)}")
        drawn = np.floor(rows.uniform(numbers) * len(values)).astype(np.int64)
        return values[drawn]

    def values(self, base: Path | None = None) -> NDArray[np.int64]:
        """The whole column."""
        path = find_file(self.path, base)
        header = cells_of(head(path).partition("\n")[0])
        if self.column in header:
            return self._of_csv(path)
        if self.column in OF_A_TRACE:
            trace = read_trace(path)
            return trace.prompt_tokens if self.column == OF_A_TRACE[0] else trace.output_tokens
        raise ScenarioError(
            f"{path} has no column {self.column!r}; write one of its header "
            f"({', '.join(header)[:200]}) or, of a trace, {' or '.join(OF_A_TRACE)}"
        )

    def _of_csv(self, path: Path) -> NDArray[np.int64]:
        parts = [
            whole_numbers(columns[self.column], origin, self.column)
            for origin, columns in csv_pieces(path)
        ]
        if not parts:
            raise ScenarioError(f"{path} has a header and no rows; give it at least one")
        values = np.concatenate(parts)
        low = np.flatnonzero(values < 1)
        if low.size:
            row = int(low[0])
            complaint = "tokens cannot be served; write at least 1 or drop the line"
            raise Origin(str(path), 2).refuse(row, self.column, values[row], complaint)
        return values
