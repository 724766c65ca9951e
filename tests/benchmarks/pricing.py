"""How long pricing takes, for every layout, overlap and kind of attention: `make bench-pricing`.

Scalar: one call of the engine for a step of decodes and one chunk of prompt in every rank. Array:
steps of a column of a million design points, one process.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "perf")]

CALLS = 4000
POINTS = 200_000


def main() -> None:
    """Print one line per machine of `tests/perf/test_faces.py`."""
    from test_faces import MACHINES, columns, compiled, shape

    print(f"{'machine':32}{'ranks':>6}{'µs a step':>11}{'µs a rank':>11}{'M steps/s, arrays':>19}")
    for machine in MACHINES:
        timer, ranks = compiled(machine, "calibrated")
        step = [
            shape(timer.caps, [500 + 7 * i for i in range(20)], [(64, 8)]) for _ in range(ranks)
        ]
        timer.price(step)
        begun = time.process_time()
        for _ in range(CALLS):
            timer.price(step)
        scalar = (time.process_time() - begun) / CALLS
        many = {k: np.repeat(v, POINTS, axis=0) for k, v in columns([step]).items()}
        begun = time.process_time()
        timer.seconds(many)
        array = POINTS / (time.process_time() - begun) / 1e6
        print(f"{machine:32}{ranks:6}{1e6 * scalar:11.2f}{1e6 * scalar / ranks:11.2f}{array:19.2f}")


if __name__ == "__main__":
    main()
