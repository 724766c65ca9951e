"""Tables as CSV, for spreadsheets and other tools."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from sim.errors import ScenarioError
from sim.record.run_folder import RunFolder
from sim.record.tables import RL_TABLES, TABLES


def export_csv(run: RunFolder, out_dir: Path | str) -> list[Path]:
    """Write every table of the run as `out_dir/TABLE.csv`, those of loops for loops alone; returns
    the paths.

    Raises ScenarioError when the folder cannot be written.
    """
    folder = Path(out_dir)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*TABLES, "attribution"):
            always = name in TABLES and TABLES[name] not in RL_TABLES
            if always or run.has(f"{name}.parquet"):
                path = folder / f"{name}.csv"
                pacsv.write_csv(_plain(run, name), path)
                written.append(path)
    except OSError as error:
        raise ScenarioError(f"'{folder}' cannot be written ({error.strerror})") from error
    return written


def _plain(run: RunFolder, name: str) -> pa.Table:
    """The table with text instead of dictionary codes, which CSV does not know."""
    table = run.table(name)
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    return table
