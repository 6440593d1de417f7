"""``limits.py``: what a class, a view or the settings say, in this order."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from wsconsumer import WebsocketConsumer
from wsconsumer.limits import LIMITS


def test_the_limits() -> None:
    """These are the class attributes with a default in the settings."""
    assert {name: getattr(WebsocketConsumer, name) for name in LIMITS} == {
        "connect_timeout": 10,
        "idle_timeout": None,
        "max_groups": 100,
        "max_lifetime": None,
        "max_message_size": 1024 * 1024,
        "max_tasks": 1000,
        "outbox_limit": 1024 * 1024,
        "outbox_policy": "close",
        "rate_limit": None,
        "rate_limit_per_user": None,
        "max_connections_per_user": None,
        "max_connections_per_address": None,
        "revalidate_every": 60,
        "send_timeout": 30,
        "slow_hook_seconds": 30,
    }


def test_who_has_the_last_word() -> None:
    """An initkwarg counts more than the class, the class more than the settings."""

    class Own(WebsocketConsumer):
        max_groups = 5

    with override_settings(WSCONSUMER={"MAX_GROUPS": 7}):
        assert WebsocketConsumer().max_groups == 7
        assert Own().max_groups == 5
        assert Own(max_groups=3).max_groups == 3


MISTAKES = [
    ("max_groups", 0, "must be an int of at least 1, got 0. The default is 100."),
    ("connect_timeout", 0, "must be None or a number of seconds above 0, got 0. The default is"),
    ("idle_timeout", float("inf"), "must be None or a number of seconds above 0, got inf."),
    ("idle_timeout", -1, "got -1. The default is None."),
    ("max_lifetime", "1h", "must be None or a number of seconds above 0, got '1h'."),
    ("max_message_size", 0, "must be None or an int of bytes, at least 1, got 0."),
    ("max_tasks", None, "must be an int of at least 1, got None. The default is 1000."),
    (
        "rate_limit",
        20,
        'must be None or a rate per second, minute or hour, such as "20/s"',
    ),
    ("rate_limit", "20", "got '20'. The default is None."),
    ("rate_limit", "0/s", "got '0/s'."),
    ("rate_limit", "20/sec", "got '20/sec'."),
    ("rate_limit", "20 / s", "got '20 / s'."),
    ("rate_limit_per_user", "20/d", "got '20/d'."),
    ("revalidate_every", 0, "must be None or a number of seconds above 0, got 0."),
    ("slow_hook_seconds", False, "must be None or a number of seconds above 0, got False."),
    ("outbox_limit", -1, "must be an int of bytes, 0 or more, got -1."),
    ("outbox_limit", True, "must be an int of bytes"),
    ("outbox_policy", "drop", 'must be "close", "drop_oldest" or "drop_newest", got \'drop\'.'),
    ("outbox_policy", [], "got []"),
    ("send_timeout", 0, "must be a number of seconds above 0, got 0. The default is 30.0."),
    ("send_timeout", True, "must be a number of seconds"),
    ("send_timeout", "30", "got '30'"),
]


@pytest.mark.parametrize(("name", "value", "text"), MISTAKES)
def test_mistakes(name: str, value: Any, text: str) -> None:
    """A wrong value is told when the class is made or mapped."""
    with pytest.raises(ValueError, match=rf"Chat\.{name} must be") as caught:
        type("Chat", (WebsocketConsumer,), {name: value})
    assert text in str(caught.value)
    with pytest.raises(ValueError, match=rf"WebsocketConsumer\.{name} must be"):
        WebsocketConsumer.as_view(**{name: value})


def test_initkwargs_may_be_limits() -> None:
    """A good value is taken."""
    WebsocketConsumer.as_view(outbox_policy="drop_oldest")
