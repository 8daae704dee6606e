"""Signals that end a command."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def handle(handler: Callable[[int, FrameType | None], object], *numbers: signal.Signals) -> None:
    """Gives these signals to `handler`. A hang-up that is ignored (nohup) stays so. An interrupt does not: shells let what a script starts in the background
    ignore it."""
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
