"""A limit on how long a peer may take."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hbo_plugin.bench.contender import UnableError


class _OutOfTime(BaseException):
    # Not an Exception, because peers catch those.
    pass


@contextmanager
def limit(seconds: float, rows: int) -> Iterator[None]:
    """Break off what takes longer, in the main thread of a Unix process."""

    def stop(_signal: int, _frame: object) -> None:
        raise _OutOfTime

    def again(dropped: Any) -> None:
        """Ring once more where the alarm rang in a finalizer, of which Python drops what it raises."""
        if dropped.exc_type is _OutOfTime:
            signal.setitimer(signal.ITIMER_REAL, seconds / 10)
        else:
            hook(dropped)

    handler = signal.signal(signal.SIGALRM, stop)
    hook, sys.unraisablehook = sys.unraisablehook, again
    # Once, and not at an interval: the next alarm could ring in what follows this one.
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _OutOfTime:
        msg = f"too slow: {seconds:g} s were not enough for a call at {rows:,} rows"
        raise UnableError(msg) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, handler)
        sys.unraisablehook = hook
