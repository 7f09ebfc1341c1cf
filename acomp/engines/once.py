"""Values that are made when they are first needed, once, whichever thread needs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from acomp.engines.forks import SafeLock

P = ParamSpec("P")
T = TypeVar("T")


def once(make: Callable[P, T]) -> Callable[P, T]:
    """`functools.cache`, where threads that come at the same time wait for one value.

    With `cache` alone each of them makes one: networks are compiled and held several times.
    """
    cached = cache(make)
    lock = SafeLock()

    @wraps(make)
    def get(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return cached(*args, **kwargs)  # type: ignore[arg-type] # all of them are hashable

    return get
