"""A thread that writes while the simulation plays on."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread
from typing import TypeAlias

Task: TypeAlias = Callable[[], None]

MOST_WAITING = 4
"""Tasks that may wait: whoever hands over more waits itself, which bounds the memory."""


class Scribe:
    """Does tasks one after the other, in the order in which they were handed over.

    An error in a task ends the work: it is raised to whoever hands over the next one, or finishes.
    """

    def __init__(self) -> None:
        self._waiting: Queue[Task | None] = Queue(MOST_WAITING)
        self._error: BaseException | None = None
        self._thread: Thread | None = None

    def hand_over(self, task: Task) -> None:
        """To be done when those before are; waits while too many are."""
        self._raise()
        if self._thread is None:
            self._thread = Thread(target=self._work, name="scribe", daemon=True)
            self._thread.start()
        self._waiting.put(task)

    def finish(self) -> None:
        """Return when everything is done."""
        self._end()
        self._raise()

    def abandon(self) -> None:
        """Do nothing more than the task in hand; what went wrong in it is of no interest."""
        self._error = self._error or InterruptedError("the run was given up")
        self._end()

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    task()
                except BaseException as error:
                    self._error = error

    def _end(self) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
