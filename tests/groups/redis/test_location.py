"""``groups/redis/location.py``: settings and addresses."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from wsconsumer.groups.loading import make_backend
from wsconsumer.groups.redis.backend import RedisBackend
from wsconsumer.groups.redis.location import Location


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("", {}, r"expects the URL of one Redis server, such as .*, got none"),
        ([], {}, "got none"),
        (["redis://a", "redis://b"], {}, "got 2. Several are for OPTIONS that say CLUSTER"),
        ("localhost:6379", {}, "has a URL that can't be read. Write it as redis://"),
        ("redis://localhost:0x", {}, "has a URL that can't be read"),
        ("redis://:12#x@host", {}, "has a URL that can't be read"),
        ("redis://:12/x@host", {}, "has a URL that can't be read"),
        ("redis://:12?x@host", {}, "has a URL that can't be read"),
        (["redis://a", "redis://:12#x@b"], {"CLUSTER": True}, "has a URL that can't be read"),
        ("redis://localhost?colour=red", {}, "parameters that a connection to Redis can't take"),
        ("redis://h?timeout=3", {}, "has the parameter 'timeout', which is not for here: A thread"),
        ("redis://h?queue_class=x", {}, "'queue_class', which is not for here"),
        ("redis://h?max_connections=0", {}, "expects a number above 0, got 0"),
        ("redis://h", {"DB": 1}, r"has 'DB', .* There are CLUSTER, SENTINEL, SENTINEL_USERNAME"),
        ("redis://h", {"TIMEOUT": "5"}, r"\['TIMEOUT'\] expects a number of .*, got '5'"),
        ("redis://h", {"TIMEOUT": 0}, "expects a number of seconds above 0, got 0"),
        ("redis://h", {"TIMEOUT": True}, "expects a number of seconds above 0, got True"),
        ("redis://h", {"CLUSTER": "yes"}, r"\['CLUSTER'\] expects bool, got str"),
        ("redis://h", {"CLUSTER": True, "SENTINEL": "m"}, "has both CLUSTER and SENTINEL"),
        ("unix:///run/redis.sock", {"CLUSTER": True}, "names a Unix socket, and CLUSTER or"),
    ],
    ids=[
        "empty", "no-list", "several", "no-scheme", "port",
        "hash", "slash", "question-mark", "second", "parameter", "pool", "queue",
        "connections", "unknown-option",
        "timeout-type", "timeout-zero", "timeout-bool", "cluster-type", "both", "socket",
    ],
)  # fmt: skip
def test_mistakes_in_the_settings(
    location: str | list[str], options: dict[str, Any], message: str
) -> None:
    """What can be told to be wrong without a connection is refused when the backend is made."""
    with pytest.raises(ImproperlyConfigured, match=message):
        RedisBackend(location, "prefix", options)


def test_no_error_and_no_text_shows_a_password() -> None:
    """Neither errors nor what the log calls Redis have the password in them."""
    for url in (
        "http://:secret@host",
        "redis://me:secret/x@host",
        "redis://:secret@host:0x",
        "redis://:secret@host?a=b",
        "redis://:12#secret@host",
        "redis://:12/secret@host",
    ):
        with pytest.raises(ImproperlyConfigured) as caught:
            RedisBackend(url, "prefix", {})
        assert "secret" not in str(caught.value)
    location = Location.read("redis://:secret@host", {"SENTINEL": "m", "SENTINEL_PASSWORD": "pw1"})
    assert "secret" not in location.name
    assert "secret" not in repr(location)
    assert "pw1" not in repr(location)


@pytest.mark.parametrize(
    ("location", "options", "addresses"),
    [
        ("redis://:a,b@one", {}, [("one", 6379)]),
        ("redis://one,two:7", {"CLUSTER": True}, [("one", 6379), ("two", 7)]),
        ("redis://one; redis://two", {"CLUSTER": True}, [("one", 6379), ("two", 6379)]),
        (["redis://one", "two"], {"SENTINEL": "m"}, [("one", 26379), ("two", 26379)]),
        ("unix:///run/redis.sock", {}, []),
    ],
    ids=["comma-in-password", "commas", "semicolons", "sentinels", "socket"],
)
def test_addresses(
    location: str | list[str], options: dict[str, Any], addresses: list[tuple[str, int]]
) -> None:
    """LOCATION is one URL, or several where there can be several servers."""
    assert list(Location.read(location, options).addresses) == addresses


def test_a_url_can_not_bring_timeouts_or_retries() -> None:
    """Parameters that would break the promises are set right: no retry, no end to idling."""
    location = Location.read(
        "redis://host?socket_timeout=1&retry_on_timeout=1&health_check_interval=1&protocol=3"
        "&decode_responses=1&client_name=chat",
        {},
    )
    connection = location.connection()
    assert connection.socket_timeout is None
    assert connection.retry.get_retries() == 0
    assert connection.health_check_interval == 0
    assert connection.client_name == "chat"


@pytest.mark.parametrize(
    ("location", "options", "prefix"),
    [
        ("redis://h", {}, "wsconsumer"),
        ("redis://h/0", {}, "wsconsumer"),
        ("redis://h/1", {}, "wsconsumer/1"),
        ("redis://h?db=2", {}, "wsconsumer/2"),
        ("unix:///run/redis.sock?db=3", {}, "wsconsumer/3"),
        ("redis://one/4,two", {"SENTINEL": "m"}, "wsconsumer/4"),
        (["redis://one/5", "two"], {"SENTINEL": "m"}, "wsconsumer/5"),
        ("redis://:a,b@h/6", {}, "wsconsumer/6"),
    ],
    ids=["none", "zero", "path", "parameter", "socket", "commas", "list", "comma-in-password"],
)
def test_a_database_keeps_sites_apart(
    location: str | list[str], options: dict[str, Any], prefix: str
) -> None:
    """Its number counts in the channels' names where no PREFIX is said."""
    groups = {
        "BACKEND": "wsconsumer.groups.redis.RedisBackend",
        "LOCATION": location,
        "OPTIONS": options,
    }
    assert make_backend(groups).prefix == prefix
    assert make_backend(groups | {"PREFIX": "site"}).prefix == "site"
