"""Measured against predicted, row by row: what every kind of validation gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = {
    "kind": "str",
    "group": "str",
    "metric": "str",
    "what": "str",
    "file": "str",
    "measured_s": "float64",
    "predicted_s": "float64",
    "outside": "str",
    "fitted": "bool",
}
"""Columns of `Comparison.rows`, with their types.

`group` is what is summarised together, `metric` what the totals are of, `what` the row in words.
`predicted_s` is NaN where `outside` says why the model cannot reach the row. `fitted` says that the
figures behind the prediction were fitted to rows of this table."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Rows with the columns `COLUMNS`, in the order of the file."""

    rows: pd.DataFrame

    @classmethod
    def of(cls, **columns: Any) -> Comparison:
        """From columns; a single value stands for all rows. `outside` and `fitted` may be left
        out. A prediction that is no finite positive number is outside too."""
        given: dict[str, Any] = {"outside": "", "fitted": False, "file": ""} | columns
        lengths = [len(v) for v in given.values() if not isinstance(v, str | bool | float)]
        length = max(lengths, default=1)
        rows = pd.DataFrame({c: given[c] for c in COLUMNS}, index=range(length))
        rows = rows.astype({c: t for c, t in COLUMNS.items() if t in ("float64", "bool")})
        good = np.isfinite(rows["predicted_s"]) & (rows["predicted_s"] > 0)
        mute = ~good & (rows["outside"] == "")
        rows.loc[mute, "outside"] = "the model gives no time"
        rows.loc[rows["outside"] != "", "predicted_s"] = np.nan
        return cls(rows)

    @classmethod
    def join(cls, parts: Iterable[Comparison]) -> Comparison:
        """All rows of several comparisons."""
        frames = [p.rows for p in parts if len(p.rows)]
        if not frames:
            return cls(pd.DataFrame({c: pd.Series(dtype=t) for c, t in COLUMNS.items()}))
        return cls(pd.concat(frames, ignore_index=True))

    def __len__(self) -> int:
        return len(self.rows)

    def error(self) -> pd.Series[float]:
        """Signed relative error, (predicted − measured) ÷ measured; NaN outside."""
        return self.rows["predicted_s"] / self.rows["measured_s"] - 1.0
