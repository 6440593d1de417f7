"""``conf.py``: settings are read at use, and mistakes are told in plain words."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from wsconsumer import conf


def test_defaults() -> None:
    """Without WSCONSUMER every setting has its default."""
    assert {name: conf.get(name) for name in conf.SETTINGS} == {
        "ALLOWED_ORIGINS": (),
        "AUTHORIZATION_SUBPROTOCOL": None,
        "CLIENT_ADDRESS": None,
        "CONNECT_TIMEOUT": 10.0,
        "DRAIN_SECONDS": None,
        "GROUPS": {},
        "HANDSHAKE_THREADS": 4,
        "IDLE_TIMEOUT": None,
        "MAX_CONNECTIONS_PER_ADDRESS": None,
        "MAX_CONNECTIONS_PER_USER": None,
        "MAX_GROUPS": 100,
        "MAX_LIFETIME": None,
        "MAX_MESSAGE_SIZE": 1048576,
        "MAX_TASKS": 1000,
        "METRICS": False,
        "OUTBOX_LIMIT": 1048576,
        "OUTBOX_POLICY": "close",
        "RATE_LIMIT": None,
        "RATE_LIMIT_PER_USER": None,
        "REVALIDATE_EVERY": 60.0,
        "SEND_TIMEOUT": 30.0,
        "SLOW_HOOK_SECONDS": 30.0,
        "THREAD_CONTEXT": None,
        "THREADS": 8,
        "URLCONF": None,
    }


def test_settings_are_read_at_use() -> None:
    """A changed setting counts at once."""
    with override_settings(WSCONSUMER={"THREADS": 2}):
        assert conf.get("THREADS") == 2
    assert conf.get("THREADS") == 8


MISTAKES = [
    (["THREADS"], "wsconsumer.E001", "WSCONSUMER must be a dict, got list."),
    ({"THREAD": 1}, "wsconsumer.E002", "Did you mean 'THREADS'?"),
    ({"threads": 1}, "wsconsumer.E002", "Did you mean 'THREADS'?"),
    ({"COLOUR": 1}, "wsconsumer.E002", "There are ALLOWED_ORIGINS, AUTHORIZATION_SUBPROTOCOL, "),
    (
        {"THREADS": 0},
        "wsconsumer.E003",
        "must be an int of at least 1, got 0. Write 'THREADS': 8, for instance, or leave it out: "
        "it is 8 then.",
    ),
    ({"THREADS": True}, "wsconsumer.E003", "must be an int of at least 1, got True."),
    ({"THREADS": "8"}, "wsconsumer.E003", "must be an int of at least 1, got '8'."),
    (
        {"DRAIN_SECONDS": -1},
        "wsconsumer.E003",
        "must be None or a number of seconds, 0 or more, got -1. Write 'DRAIN_SECONDS': 20, ",
    ),
    ({"DRAIN_SECONDS": True}, "wsconsumer.E003", "0 or more, got True."),
    ({"DRAIN_SECONDS": False}, "wsconsumer.E003", "0 or more, got False."),
    ({"DRAIN_SECONDS": float("inf")}, "wsconsumer.E003", "0 or more, got inf."),
    ({"DRAIN_SECONDS": "20"}, "wsconsumer.E003", "0 or more, got '20'."),
    ({"ALLOWED_ORIGINS": "*"}, "wsconsumer.E003", "for instance, or leave it out: it is () then."),
    (
        {"ALLOWED_ORIGINS": "*"},
        "wsconsumer.E003",
        "Write 'ALLOWED_ORIGINS': ['https://example.com']",
    ),
    ({"ALLOWED_ORIGINS": ["example.com"]}, "wsconsumer.E003", 'Write "https://example.com".'),
    ({"ALLOWED_ORIGINS": [1]}, "wsconsumer.E003", "with their scheme"),
    ({"GROUPS": "redis://"}, "wsconsumer.E003", "must be a dict with BACKEND, LOCATION, PREFIX"),
    ({"GROUPS": {"BACKEN": "x"}}, "wsconsumer.E002", "Did you mean 'BACKEND'?"),
    ({"GROUPS": {"HOSTS": []}}, "wsconsumer.E002", "There are BACKEND, LOCATION, PREFIX, OPTIONS."),
    (
        {"GROUPS": {"BACKEND": 1}},
        "wsconsumer.E003",
        "must be the dotted path of a backend, got int.",
    ),
    (
        {"GROUPS": {"LOCATION": [("localhost", 6379)]}},
        "wsconsumer.E003",
        "WSCONSUMER['GROUPS']['LOCATION'] must be a str, or a list of str for a cluster, got list. "
        "Write 'LOCATION': 'redis://localhost:6379', for instance",
    ),
    ({"GROUPS": {"LOCATION": 6379}}, "wsconsumer.E003", "must be a str, or a list of str for a"),
    ({"GROUPS": {"LOCATION": {"host": "redis", "password": "x"}}}, "wsconsumer.E003", "got dict."),
    ({"GROUPS": {"LOCATION": b"redis://"}}, "wsconsumer.E003", "got bytes."),
    ({"GROUPS": {"PREFIX": None}}, "wsconsumer.E003", "must be a str, got None."),
    (
        {"GROUPS": {"OPTIONS": []}},
        "wsconsumer.E003",
        "must be a dict, got list. Write",
    ),
    ({"HANDSHAKE_THREADS": 0}, "wsconsumer.E003", "must be an int of at least 1, got 0."),
    *(
        (
            {"AUTHORIZATION_SUBPROTOCOL": value},
            "wsconsumer.E003",
            "must be None or the scheme of an Authorization header, one word, got "
            f"{value!r}. Write 'AUTHORIZATION_SUBPROTOCOL': 'Bearer', for instance, or leave it",
        )
        for value in ("", "Bearer ", "Bearer,Token", "Träger", "wsconsumer.V1", True, ["Bearer"])
    ),
    ({"CLIENT_ADDRESS": ""}, "wsconsumer.E003", "must be None or the dotted path of a function"),
    ({"THREAD_CONTEXT": len}, "wsconsumer.E003", "must be None or the dotted path of a function"),
    ({"URLCONF": ""}, "wsconsumer.E003", "or leave it out."),
    ({"URLCONF": []}, "wsconsumer.E003", "must be None or the dotted path of a URLconf module"),
]


@pytest.mark.parametrize(("value", "check_id", "text"), MISTAKES, ids=lambda value: str(value)[:30])
def test_mistakes(value: Any, check_id: str, text: str) -> None:
    """Each mistake has one id, and the same words where the setting is used."""
    with override_settings(WSCONSUMER=value):
        (problem,) = conf.problems()
        assert problem.id == check_id
        assert text in f"{problem.message} {problem.hint}"
        with pytest.raises(ImproperlyConfigured) as caught:
            conf.get("THREADS")
    assert str(caught.value) == f"{problem.message} {problem.hint}"


def test_the_dict_is_validated_once() -> None:
    """However often settings are read, each dict is looked through once."""

    class Noting(dict[str, Any]):
        looked_through = 0

        def items(self) -> Any:
            self.looked_through += 1
            return super().items()

    first, second = Noting(THREADS=2), Noting(THREADS=3)
    for configured in (first, second):
        with override_settings(WSCONSUMER=configured):
            assert {conf.get("THREADS") for _ in range(5)} == {configured["THREADS"]}
            assert configured.looked_through == 1
