"""Writing beside the simulation: in order, a bounded number of groups behind, no error lost."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import generated, serving

from sim.record.log import GROUP_ROWS, Log
from sim.record.run_folder import RunFolder
from sim.record.scribe import MOST_WAITING, Scribe
from sim.scenario import simulation
from sim.scenario.planning import plan
from sim.scenario.scenario import Scenario


def scribes() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "scribe"]


def test_tasks_are_done_in_the_order_in_which_they_came() -> None:
    done: list[int] = []
    scribe = Scribe()
    for i in range(50):
        scribe.hand_over(lambda i=i: done.append(i))
    scribe.finish()
    assert done == list(range(50))
    assert not scribes()


def test_whoever_hands_over_too_much_waits() -> None:
    gate = threading.Event()
    scribe, handed = Scribe(), []

    def hand_over_many() -> None:
        for i in range(MOST_WAITING + 5):
            scribe.hand_over(gate.wait)
            handed.append(i)

    giver = threading.Thread(target=hand_over_many)
    giver.start()
    until = time.monotonic() + 10.0
    while len(handed) <= MOST_WAITING and time.monotonic() < until:
        time.sleep(0.01)
    giver.join(0.2)
    assert len(handed) == MOST_WAITING + 1  # those that wait, and the one in hand
    gate.set()
    giver.join()
    scribe.finish()


def _hand_over_forever(scribe: Scribe, task: Callable[[], None]) -> None:
    while True:
        scribe.hand_over(task)


def test_an_error_reaches_whoever_writes_and_ends_the_work() -> None:
    done: list[str] = []
    scribe = Scribe()

    def fail() -> None:
        raise OSError("No space left on device")

    scribe.hand_over(fail)
    with pytest.raises(OSError, match="No space left"):
        _hand_over_forever(scribe, lambda: done.append("after"))
    with pytest.raises(OSError, match="No space left"):
        scribe.finish()
    assert not done
    assert not scribes()


def test_a_run_that_fails_leaves_no_thread_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = serving(generated(3, 10, 5, "at_once"))

    def fail(built: simulation.Built, exhausted: bool) -> None:
        built.log.writers["clock"].write(
            {"engine": np.zeros(1), "slot": np.zeros(1), "step": np.zeros(1), "end_s": np.ones(1)}
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation, "_close", fail)
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(plan(Scenario.of(tree)), RunFolder.create(tmp_path))
    assert not scribes()


def test_rows_written_by_the_thread_are_those_kept_in_memory(tmp_path: Path) -> None:
    logs = [Log(RunFolder.create(tmp_path).path), Log(None)]
    for log in logs:
        for i in range(2 * GROUP_ROWS + 5):
            log.chunks((i, 0, 0, 0, i, 1, 0))
            log.pump()
        log.close()
    kept = logs[1].writers["chunks"].kept()
    assert RunFolder(tmp_path).table("chunks").equals(kept)
