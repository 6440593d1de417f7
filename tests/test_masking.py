"""``masking.py``: a LOCATION is shown without its passwords, however it is written."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import override_settings

from wsconsumer import BackendError, conf
from wsconsumer.groups.api import broadcast
from wsconsumer.groups.loading import make_backend
from wsconsumer.groups.memory import MemoryBackend
from wsconsumer.masking import mask, mask_all, mask_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsconsumer.groups.base import Backend

LOCATIONS: dict[str, tuple[Any, Any]] = {
    "none": ("redis://host:6379/0", "redis://host:6379/0"),
    "empty": ("", ""),
    "password": ("redis://:hunter2@host:6379", "redis://:***@host:6379"),
    "user-and-password": ("rediss://me:hunter2@host", "rediss://me:***@host"),
    "user-or-password": ("redis://hunter2@host", "redis://***@host"),
    "parameter": ("redis://host?db=1&password=hunter2", "redis://host?db=1&password=***"),
    "parameter-with-a-hash": ("redis://host?password=a#hunter2", "redis://host?password=***#***"),
    "parameter-escaped": ("redis://host?p%61ssword=hunter2", "redis://host?p%61ssword=***"),
    "parameter-of-tls": ("rediss://host?ssl_password=hunter2", "rediss://host?ssl_password=***"),
    "parameter-without-a-name": ("redis://host?hunter2", "redis://host?***"),
    "other-parameters": ("rediss://h?ssl_ca_certs=/a", "rediss://h?ssl_ca_certs=/a"),
    "socket": ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    "socket-user": ("unix://me:hunter2@/run/redis.sock", "unix://me:***@/run/redis.sock"),
    "socket-parameter": ("unix:///run/r.sock?password=hunter2", "unix:///run/r.sock?password=***"),
    "colon": ("redis://me:hun:hunter2@host", "redis://me:***@host"),
    "at": ("redis://me:p@hunter2@host", "redis://me:***@host"),
    "slash": ("redis://:p/hunter2@host", "redis://***"),
    "hash": ("redis://:p#hunter2@host", "redis://***"),
    "question-mark": ("redis://:p?hunter2@host", "redis://***"),
    "comma": ("redis://:p,hunter2@host", "redis://:***@host"),
    "no-host": ("redis://:hunter2", "redis://***"),
    "no-scheme": (":hunter2@host:6379", ":***@host:6379"),
    "colon-alone": ("redis:hunter2@host", "redis:***@host"),
    "ipv6": ("redis://:hunter2@[::1]:6379", "redis://:***@[::1]:6379"),
    "several": ("redis://:hunter2@a:1,b:2;c", "redis://:***@a:1,b:2;c"),
    "several-urls": (
        "redis://:hunter2@a, redis://:hunter2@b",
        "redis://:***@a, redis://:***@b",
    ),
    "list": (["redis://:hunter2@a", "b:26379"], ["redis://:***@a", "b:26379"]),
    "tuple": (("redis://:hunter2@a",), ["redis://:***@a"]),
    "alias": ("default", "default"),
    "dsn": ("host=db password=hunter2", "***"),
    "postgres": ("postgres://me:hunter2@db/site", "postgres://me:***@db/site"),
    "dict": ({"password": "hunter2"}, "<dict>"),
    "list-of-dicts": ([{"password": "hunter2"}], ["<dict>"]),
}


@pytest.mark.parametrize(("location", "shown"), LOCATIONS.values(), ids=LOCATIONS)
def test_what_is_shown(location: Any, shown: Any) -> None:
    """Host, user, path and harmless parameters stay; where it is unclear nothing does."""
    assert mask(location) == shown


TEXTS: dict[str, tuple[str, str]] = {
    "urls": (
        "can't reach 'nats://me:hunter2@host' or redis://:hunter2@host, at 12:30 (a@b)",
        "can't reach 'nats://me:***@host' or redis://:***@host, at 12:30 (a@b)",
    ),
    "dsn": (
        "host=db password=hunter2, sslpassword='hunter 2' user=me",
        "host=db password=***, sslpassword=*** user=me",
    ),
    "words": ("no password=, no pwd", "no password=, no pwd"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_the_words_of_others(text: str, shown: str) -> None:
    """In an error that is not ours, only URLs and what is named a password are looked at."""
    assert mask_text(text) == shown


class Talkative(MemoryBackend):
    """Describes itself with its password."""

    def describe(self) -> str:
        return "nats://me:hunter2@host"


LEAKY: dict[str, dict[str, Any]] = {
    "describe()": {"WSCONSUMER": {"GROUPS": {"BACKEND": f"{__name__}.Talkative"}}},
    "PREFIX": {"WSCONSUMER": {"GROUPS": {"PREFIX": "redis://:hunter2@host"}}},
    "THREADS": {"WSCONSUMER": {"THREADS": "redis://:hunter2@host"}},
    "CLIENT_ADDRESS": {"WSCONSUMER": {"CLIENT_ADDRESS": "redis://:hunter2@host"}},
    "ALLOWED_ORIGINS": {"WSCONSUMER": {"ALLOWED_ORIGINS": ["https://me:hunter2@host"]}},
    "CSRF_TRUSTED_ORIGINS": {"CSRF_TRUSTED_ORIGINS": ["https://me:hunter2@host"]},
    "ALLOWED_HOSTS": {"ALLOWED_HOSTS": ["https://me:hunter2@host"]},
    "an unknown setting": {"WSCONSUMER": {"https://me:hunter2@host": 1}},
}


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["for people", "for programs"])
@pytest.mark.parametrize("changed", LEAKY.values(), ids=LEAKY)
def test_the_command_shows_none(changed: dict[str, Any], options: tuple[str, ...]) -> None:
    """``manage.py websockets`` shows no password of a URL, whichever setting has it."""
    out = io.StringIO()
    with override_settings(**changed), contextlib.suppress(CommandError):
        call_command("websockets", *options, stdout=out)
    assert "://" in out.getvalue()
    assert "hunter2" not in out.getvalue()


def test_patterns_of_origins_stay() -> None:
    """A URL without a user in it is printed as it was written."""
    origins = ["http://localhost:*", "chrome-extension://*", "file://", "https://*.example.org"]
    assert mask_all({"origins": origins, "threads": 4}) == {"origins": origins, "threads": 4}


REDIS = "wsconsumer.groups.redis.RedisBackend"
POSTGRES = "wsconsumer.groups.postgres.PostgresBackend"

# Nothing listens on port 1, and there is no such socket.
NOWHERE = (
    "redis://:hunter2@127.0.0.1:1",
    "unix://me:hunter2@/no/such/socket?db=3",
    ["redis://:hunter2@127.0.0.1:1"],
)


def mistaken() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield settings with a password in them, most of them wrong."""
    for location, _ in LOCATIONS.values():
        if "hunter2" in str(location):
            yield f"redis {location}", {"BACKEND": REDIS, "LOCATION": location}
            yield f"memory {location}", {"LOCATION": location}
            yield f"postgres {location}", {"BACKEND": POSTGRES, "LOCATION": location}
            yield f"as backend {location}", {"BACKEND": location}
    alone, socket, several = NOWHERE
    yield "away", {"BACKEND": REDIS, "LOCATION": alone}
    yield "no socket", {"BACKEND": REDIS, "LOCATION": socket}
    yield "no cluster", {"BACKEND": REDIS, "LOCATION": several, "OPTIONS": {"CLUSTER": True}}
    yield (
        "no Sentinel",
        {
            "BACKEND": REDIS,
            "LOCATION": several,
            "OPTIONS": {"SENTINEL": "mymaster", "SENTINEL_PASSWORD": "hunter2"},
        },
    )
    yield "options of another backend", {"OPTIONS": {"SENTINEL_PASSWORD": "hunter2"}}
    yield "options as a list", {"OPTIONS": ["hunter2"]}
    yield "a misspelt key", {"LOCATON": "redis://:hunter2@host"}
    yield (
        "an alias as a URL",
        {
            "BACKEND": POSTGRES,
            "OPTIONS": {"PUBLISH_USING": "postgres://me:hunter2@db/site"},
        },
    )


MISTAKES = dict(mistaken())


@pytest.mark.parametrize("groups", MISTAKES.values(), ids=MISTAKES)
async def test_no_error_check_or_log_line_shows_a_password(
    groups: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with the engine, what is said of it has no password in it."""
    caplog.set_level(logging.DEBUG, "wsconsumer")
    said: list[str] = []
    with override_settings(WSCONSUMER={"GROUPS": groups}):
        said += map(str, run_checks(tags=["wsconsumer"], include_deployment_checks=True))
        try:
            backend = make_backend(conf.get("GROUPS"))
            if groups.get("LOCATION") in NOWHERE:
                await use(backend)
        except (ImproperlyConfigured, BackendError) as error:
            said.append(str(error))
    assert "hunter2" not in "\n".join([*said, caplog.text])


async def use(backend: Backend) -> None:
    """Broadcast, as a hub does."""
    await backend.start(ignore)
    try:
        await backend.subscribe(["news"])
        await backend.publish("news", b"body")
    finally:
        await backend.aclose()


async def ignore(group: str, body: bytes, _: object = None) -> None:
    """Take what comes in, which is nothing."""


@pytest.mark.parametrize("location", NOWHERE[:2], ids=["address", "socket"])
def test_a_broadcast_in_a_thread_shows_none(location: Any) -> None:
    """Nor does the error of a broadcast that the engine did not take."""
    groups = {"BACKEND": REDIS, "LOCATION": location}
    with (
        override_settings(WSCONSUMER={"GROUPS": groups}),
        pytest.raises(BackendError, match=r"did not accept a broadcast") as caught,
    ):
        broadcast("news", "hello")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    ["redis://:hunter2@host", [{"GROUPS": "redis://:hunter2@host"}], {"GROUPS": "redis://hunter2"}],
    ids=["str", "list", "groups"],
)
def test_settings_of_another_type_show_none(settings: Any) -> None:
    """Nor do settings that are no dict."""
    with override_settings(WSCONSUMER=settings):
        (message,) = run_checks(tags=["wsconsumer"])
    assert "hunter2" not in str(message)
