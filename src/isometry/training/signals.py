"""SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 as errors of our own, and during a training as a request to save first.

Lightning raises between any two instructions on Ctrl-C, exits with 0 after SIGTERM, and on a cluster writes its
checkpoint from within the handler, perhaps in the middle of a step. Here a handler only notes the signal; the training
looks before each batch, saves, and leaves. A second Ctrl-C leaves at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

from ..errors import Interrupted, Terminated

# What schedulers send some time before they kill (`#SBATCH --signal=USR1@90`) ends a run like SIGTERM.
_WORDS = {
    signal.SIGINT: ("interrupted", Interrupted),
    signal.SIGTERM: ("terminated", Terminated),
    signal.SIGUSR1: ("terminated by SIGUSR1", Terminated),
}


class Signals:
    """For a `with` block; only the main thread of a process can look after its signals, elsewhere nothing is done.

    Args:
        advice: A line that says how to go on, for the error's message.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice
        self.asked: signal.Signals | None = None
        self._is_deferring = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _WORDS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        """From now on a signal is noted."""
        self._is_deferring = True

    def stop_deferring(self) -> None:
        self._is_deferring = False

    def leave(self, where: str, *, is_first: bool = True) -> NoReturn:
        """Raises what the signal that came means; where it came to another process alone, what SIGTERM does.

        Of several processes the first one's exit code speaks for all: with 0 for the others no launcher takes them for
        failed, and kills the first while it finishes its files.
        """
        word, kind = _WORDS[self.asked or signal.SIGTERM]
        self._is_deferring = False
        error = kind(f"{word} {where}\n  continue:  {self.advice}")
        if not is_first:
            error.exit_code = 0
        raise error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        is_second = self.asked is not None and number == signal.SIGINT
        self.asked = signal.Signals(number)
        if is_second or not self._is_deferring:
            self.leave("at once" if is_second else "outside of the training steps")
        if number == signal.SIGINT:
            print("\nsaving after this step; Ctrl-C again leaves at once", flush=True)
