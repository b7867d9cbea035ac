"""A limit on how long a peer may take."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hbo_plugin.bench.contender import UnableError


class _OutOfTime(BaseException):
    # Not an Exception, because peers catch those.
    pass


@contextmanager
def limit(seconds: float, rows: int) -> Iterator[None]:
    """Break off what takes longer, in the main thread of a Unix process."""

    def stop(_signal: int, _frame: object) -> None:
        raise _OutOfTime

    handler = signal.signal(signal.SIGALRM, stop)
    # Again and again: what a peer's finalizer raises is dropped, and the first alarm may ring in one.
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 10)
    try:
        yield
    except _OutOfTime:
        msg = f"too slow: {seconds:g} s were not enough to make it and call it once at {rows:,} rows"
        raise UnableError(msg) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, handler)
