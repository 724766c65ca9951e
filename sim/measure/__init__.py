"""Tables to numbers. `measure(run)` checks and measures a run folder."""

from sim.measure.export import export_csv
from sim.measure.summary import measure

__all__ = ["export_csv", "measure"]
