"""System checks of the groups, and of how many processes and threads there are."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from . import conf
from .groups.declared import declared_groups, overlaps
from .groups.loading import MEMORY, make_backend
from .groups.publication import keeping_problems
from .groups.registry import leasing_problems
from .handshake.routes import read_routes
from .handshake.views import ConsumerView

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_groups(**_: Any) -> list[CheckMessage]:
    """E006: the backend of groups can't be made as it is configured. W009: it has its doubts."""
    if not conf.is_good():
        return []
    try:
        backend = make_backend(conf.get("GROUPS"))
    except ImproperlyConfigured as error:
        return [Error(str(error), id="wsconsumer.E006")]
    return [Warning(text, id="wsconsumer.W009") for text in backend.warnings()]


def check_declared_groups(**_: Any) -> list[CheckMessage]:
    """E009: declared groups that are not told apart. E010: a backend that can't keep."""
    problems: list[CheckMessage] = [
        Error(
            f"{one!r} and {other!r} overlap: some names fit both, and nobody could say which "
            "options such a group has.",
            "Let one of the templates begin with another word.",
            id="wsconsumer.E009",
        )
        for one, other in overlaps()
    ]
    kept = [group for group in declared_groups() if group.is_kept]
    if kept and not check_groups():
        problems += [
            Error(f"{kept[0]!r} is declared with keep=. {text}", id="wsconsumer.E010")
            for text in keeping_problems(make_backend(conf.get("GROUPS")))
        ]
    return problems


def check_places_of_groups(**_: Any) -> list[CheckMessage]:
    """W010: a declared group that only those processes know that happen to import it."""
    read_routes()  # what consumers and views import, only some processes do
    return [
        Warning(
            f"{group!r} is declared with keep=, but not where every process finds it: one that "
            "does not import it, such as a Celery worker, broadcasts without keeping.",
            "Declare it in realtime.py of an app in INSTALLED_APPS. The project's own package is "
            "no app until it is listed there.",
            id="wsconsumer.W010",
        )
        for group in declared_groups()
        if group.is_kept and not group.is_found
    ]


def check_processes(**_: Any) -> list[CheckMessage]:
    """W003: groups stay in one process, and there are several."""
    if not conf.is_good() or conf.get("GROUPS").get("BACKEND", MEMORY) != MEMORY:
        return []
    evidence = next(_evidence_of_processes(), None)
    if evidence is None:
        return []
    return [
        Warning(
            f"{evidence}, so there are several processes, but what is broadcast to groups stays in "
            "the process where it was broadcast.",
            "Name a backend that carries to others in WSCONSUMER['GROUPS'], such as "
            "wsconsumer.groups.redis.RedisBackend or wsconsumer.groups.postgres.PostgresBackend.",
            id="wsconsumer.W003",
        )
    ]


def _evidence_of_processes() -> Iterator[str]:
    workers = os.environ.get("WEB_CONCURRENCY", "")
    if workers.isdecimal() and int(workers) > 1:
        yield f"The environment has WEB_CONCURRENCY={workers}"
    for name in ("CELERY_BROKER_URL", "Q_CLUSTER", "RQ_QUEUES", "HUEY", "DRAMATIQ_BROKER"):
        if getattr(settings, name, None):
            yield f"The settings have {name}"
    for package in _packages():
        with suppress(ModuleNotFoundError):  # a package that is a module
            if find_spec(f"{package}.celery") is not None:
                yield f"There is {package}.celery"


def _packages() -> Iterator[str]:
    """Yield the packages that the settings and the URLconf are in; celery.py is beside them."""
    for name in (os.environ.get(ENVIRONMENT_VARIABLE, ""), getattr(settings, "ROOT_URLCONF", "")):
        package = name.rpartition(".")[0]
        while package:
            yield package
            package = package.rpartition(".")[0]


def check_counting(**_: Any) -> list[CheckMessage]:
    """E011: connections are limited, and the backend can't count those of all processes."""
    limited = [*_limited("max_connections_per_user"), *_limited("max_connections_per_address")]
    if not limited or check_groups():
        return []
    return [
        Error(
            f"{limited[0]} is set, which counts the connections of all processes. {text}",
            "Without that each process counts for itself.",
            id="wsconsumer.E011",
        )
        for text in leasing_problems(make_backend(conf.get("GROUPS")))
    ]


def check_addresses(**_: Any) -> list[CheckMessage]:
    """W011: connections are counted by the address of a proxy."""
    proxy = next(_evidence_of_proxy(), None)
    limited = next(_limited("max_connections_per_address"), None)
    if proxy is None or limited is None or conf.get("CLIENT_ADDRESS") is not None:
        return []
    return [
        Warning(
            f"{limited} is set, and {proxy}: behind a proxy all clients have one address, unless "
            "the server reads theirs from a header.",
            "Name a function in WSCONSUMER['CLIENT_ADDRESS'] that returns the address of a "
            'request\'s client, such as "wsconsumer.addresses.remote_addr" if the server takes '
            "care of it.",
            id="wsconsumer.W011",
        )
    ]


def _evidence_of_proxy() -> Iterator[str]:
    for name in ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST"):
        if getattr(settings, name):
            yield f"the settings have {name}"


def _limited(limit: str) -> Iterator[str]:
    """Yield where a limit of connections is set: in the settings, on classes, in URL patterns."""
    if not conf.is_good():
        return
    if conf.get(limit.upper()) is not None:
        yield f"WSCONSUMER[{limit.upper()!r}]"
    for route in read_routes()[0]:
        consumer = route.application
        if isinstance(consumer, type) and issubclass(consumer, ConsumerView):
            given = getattr(route.view, "view_initkwargs", {})
            if given.get(limit, getattr(consumer, limit)) is not None:
                yield f"{consumer.__qualname__}.{limit}"


def check_pools(**_: Any) -> list[CheckMessage]:
    """W004: a pool with fewer connections than threads that may want one at once."""
    if not conf.is_good():
        return []
    threads = conf.get("HANDSHAKE_THREADS") + conf.get("THREADS")
    return [
        Warning(
            f"The connection pool of DATABASES[{alias!r}] has a max_size of {size}, and websockets "
            f"use up to {threads} threads. Handshakes and pages may wait, and fail.",
            f'Set OPTIONS["pool"]["max_size"] to at least {threads}, and more for pages; or lower '
            "WSCONSUMER['HANDSHAKE_THREADS'] and WSCONSUMER['THREADS'].",
            id="wsconsumer.W004",
        )
        for alias, size in _pools()
        if size < threads
    ]


def _pools() -> Iterator[tuple[str, int]]:
    """Yield the databases with a connection pool, and its largest size (that of psycopg_pool)."""
    for alias in connections:
        pool = connections.settings[alias].get("OPTIONS", {}).get("pool")
        if pool:
            sizes = pool if isinstance(pool, dict) else {}
            smallest = sizes.get("min_size", 4)
            yield alias, sizes.get("max_size") or smallest
