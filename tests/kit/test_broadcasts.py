"""``wsconsumer.test.captured_broadcasts``, as a listener to every broadcast."""

from __future__ import annotations

import pytest

from wsconsumer.groups.listeners import notify
from wsconsumer.test import Broadcast, captured_broadcasts


def test_broadcasts_are_recorded_in_order() -> None:
    """Group and data of each broadcast in the block are there, and of none outside."""
    notify("before", 1)
    with captured_broadcasts() as broadcasts:
        notify("lobby", "hello")
        notify("attic", {"a": 1})
    notify("after", 1)
    assert broadcasts == [Broadcast("lobby", "hello"), ("attic", {"a": 1})]


def test_captures_may_be_nested() -> None:
    """Each capture sees what is broadcast while it lasts."""
    with captured_broadcasts() as outer:
        with captured_broadcasts() as inner:
            notify("lobby", 1)
        notify("lobby", 2)
    assert (inner, outer) == ([("lobby", 1)], [("lobby", 1), ("lobby", 2)])


def test_a_capture_ends_with_its_block() -> None:
    """An exception in the block ends the capture too."""
    with pytest.raises(KeyError), captured_broadcasts() as broadcasts:
        raise KeyError
    notify("lobby", 1)
    assert broadcasts == []
