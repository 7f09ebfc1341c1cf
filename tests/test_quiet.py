"""Warnings are silenced in the thread that asks for it, and in no other."""

from __future__ import annotations

import threading
import warnings

import pytest

from acomp.quiet import quiet


def test_other_threads_are_warned_as_before() -> None:
    inside, looked = threading.Event(), threading.Event()

    def work() -> None:
        with quiet():
            inside.set()
            looked.wait()
            warnings.warn("not to be seen", stacklevel=1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
        warnings.warn("to be seen", stacklevel=1)
        looked.set()
        thread.join()
        assert list(warnings.filters) == before
        warnings.warn("to be seen again", stacklevel=1)
    assert [str(each.message) for each in seen] == ["to be seen", "to be seen again"]


def test_filters_are_as_before_though_threads_come_and_go_in_any_order() -> None:
    before = list(warnings.filters)
    one, other = quiet(), quiet()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert list(warnings.filters) == before


def test_warnings_come_back_where_others_have_copied_the_filters() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here = quiet()
        here.__enter__()
        with warnings.catch_warnings():  # copies the filters
            here.__exit__(None, None, None)
            with pytest.raises(UserWarning, match="again"):
                warnings.warn("again", stacklevel=1)
