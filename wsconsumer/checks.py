"""System checks, one id per mistake: ``manage.py check`` tells what the first socket would."""

from __future__ import annotations

import inspect
import re
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.apps import apps
from django.conf import settings
from django.core.checks import (
    CheckMessage,
    Error,
    Tags,
    Warning,  # noqa: A004  # Django's name
    register,
)
from django.core.checks.registry import registry
from django.utils.module_loading import import_string

from . import conf, origins
from .escaping import quote
from .group_checks import (
    check_addresses,
    check_counting,
    check_declared_groups,
    check_groups,
    check_places_of_groups,
    check_pools,
    check_processes,
)
from .handshake.routes import Route, pattern_before, read_routes
from .handshake.views import ConsumerView, names_of
from .importing import explain_import
from .messages.handlers import is_handler
from .misnomers import ELSEWHERE
from .origins import ANY, Pattern
from .wiring import read_application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DAPHNE: Final = (4, 2, 2)
"""The first version of daphne that has a limit for the size of messages."""


def check_settings(**_: Any) -> list[CheckMessage]:
    """Check the ``WSCONSUMER`` dict: E001, E002, E003."""
    return [Error(problem.message, problem.hint, id=problem.id) for problem in conf.problems()]


def check_asgi_application(**_: Any) -> list[CheckMessage]:
    """E004: there are websocket routes, but ``ASGI_APPLICATION`` never gets to them."""
    application = read_application() if any(_websocket_routes()) else None
    if application is None:
        return []
    name = f"ASGI_APPLICATION = {quote(application.name)}"
    if application.error is not None:
        return [
            Error(
                f"{name} can't be imported: {application.error}.",
                'Name the application in your asgi.py, such as "mysite.asgi.application".',
                id="wsconsumer.E004",
            )
        ]
    if application.serves == "http":
        problem = "is Django's own application, which serves no websockets"
    elif _leads_to_channels_alone(application.value):
        problem = "is a router of Channels, which never gets to the consumers in the URLconf"
    else:
        return []
    return [
        Error(
            f"{name} {problem}.",
            "In asgi.py, import get_asgi_application from wsconsumer.asgi.",
            id="wsconsumer.E004",
        )
    ]


def _leads_to_channels_alone(application: Any) -> bool:
    """Return whether routers and middleware of Channels end at consumers of Channels."""
    if application is None:
        return True
    if not _is_of_channels(application):
        return False
    if hasattr(application, "application_mapping"):  # ProtocolTypeRouter
        return _leads_to_channels_alone(application.application_mapping.get("websocket"))
    if hasattr(application, "routes"):  # URLRouter
        return all(_leads_to_channels_alone(route.callback) for route in application.routes)
    for name in ("inner", "application"):  # BaseMiddleware, OriginValidator
        if hasattr(application, name):
            return _leads_to_channels_alone(getattr(application, name))
    return True


def check_urlconf(**_: Any) -> list[CheckMessage]:
    """E005: consumers in the URLconf that are no views. E008: it can't be loaded."""
    if not conf.is_good():
        return []
    routes, problem = read_routes()
    if problem is not None:
        return [Error(problem, id="wsconsumer.E008")]
    return list(_wrong_views(routes))


def _wrong_views(routes: list[Route]) -> Iterator[CheckMessage]:
    for route in routes:
        view: Any = route.view
        consumer = getattr(view, "consumer_class", getattr(view, "__self__", view))
        if inspect.isclass(consumer) and issubclass(consumer, ConsumerView):
            yield Error(
                f"The URL pattern {route.path!r} maps {consumer.__name__} with {_mapped(view)}, "
                "which Django can't call as a view.",
                f"Write {consumer.__name__}.as_view().",
                obj=consumer,
                id="wsconsumer.E005",
            )
        elif (hidden := route.hidden_application) is not None:
            name = ".".join(names_of(hidden))
            yield Error(
                f"The URL pattern {route.path!r} has a decorator around {name} that hides that it "
                "serves websockets, so they get 404.",
                "A decorator of views needs functools.wraps(). api_view() and the like, which make "
                "a page of a function, can't be used.",
                id="wsconsumer.E005",
            )


def _mapped(view: Any) -> str:
    """Return how a consumer was mapped that is no view."""
    if inspect.isclass(view):
        return "the class itself"
    return f"{view.__name__}, without a call" if inspect.ismethod(view) else "as_asgi()"


def check_order(**_: Any) -> list[CheckMessage]:
    """W012: a path that an earlier pattern takes, so that its websocket is never reached."""
    return [
        Warning(
            f"No websocket gets to {'.'.join(names_of(route.application))} at {route.path}: the "
            f"URL pattern {taker!r}, which comes first, takes that path.",
            "Put the path(), or the include() that it is in, before the other.",
            id="wsconsumer.W012",
        )
        for route in _websocket_routes()
        if (taker := pattern_before(route)) is not None
    ]


def check_consumers(**_: Any) -> list[CheckMessage]:
    """W006: a consumer with a hook of another framework, which nothing calls."""
    consumers = {route.application: None for route in _websocket_routes()}
    return [
        Warning(
            f"{consumer.__module__}.{consumer.__qualname__} has {name}, which nothing calls here.",
            hint,
            obj=consumer,
            id="wsconsumer.W006",
        )
        for consumer in consumers
        if inspect.isclass(consumer) and issubclass(consumer, ConsumerView)
        for name, hint in (*_hooks_of_others(consumer), *_handlers_of_layers(consumer))
    ]


def _hooks_of_others(consumer: type) -> Iterator[tuple[str, str]]:
    for name, hook in ELSEWHERE.items():
        if inspect.isfunction(getattr(consumer, name, None)) and not _calls(consumer, name):
            yield (
                f"{name}(), a hook of other frameworks",
                f"Write {hook}, or give it another name.",
            )


def _handlers_of_layers(consumer: type) -> Iterator[tuple[str, str]]:
    """Yield what a channel layer would call; only where the project has had Channels."""
    if not hasattr(settings, "CHANNEL_LAYERS") and not apps.is_installed("channels"):
        return
    for name, value in inspect.getmembers_static(consumer, inspect.iscoroutinefunction):
        if is_handler(value) or list(inspect.signature(value).parameters) != ["self", "event"]:
            continue
        if not _calls(consumer, name):
            yield (
                f"{name}(event), a handler of Channels' group_send()",
                "What is broadcast goes to the clients as it is. To filter or change it, write "
                "`async def group_message(self, group, data)`.",
            )


def _calls(consumer: type, name: str) -> bool:
    """Return whether some method of a class has this name in its code."""
    methods = (value for base in consumer.__mro__ for value in vars(base).values())
    return any(name in getattr(method, "__code__", _NO_CODE).co_names for method in methods)


_NO_CODE: Final = (lambda: None).__code__


def check_leftovers(**_: Any) -> list[CheckMessage]:
    """W007: settings of Channels where nothing of Channels is served."""
    routes = _websocket_routes() if hasattr(settings, "CHANNEL_LAYERS") else []
    if not routes or any(_is_of_channels(route.application) for route in routes):
        return []
    return [
        Warning(
            "The settings have CHANNEL_LAYERS, which no consumer here reads.",
            "Groups are carried by what WSCONSUMER['GROUPS'] names. Remove CHANNEL_LAYERS, unless "
            "something else of the project uses Channels.",
            id="wsconsumer.W007",
        )
    ]


def _is_of_channels(application: object) -> bool:
    consumer = getattr(application, "consumer_class", application)
    kind = consumer if inspect.isclass(consumer) else type(consumer)
    return any(base.__module__.partition(".")[0] == "channels" for base in kind.__mro__)


def check_daphne(**_: Any) -> list[CheckMessage]:
    """W001: a daphne without a limit for the size of messages."""
    try:
        version = metadata.version("daphne")
    except metadata.PackageNotFoundError:
        return []
    if tuple(map(int, re.findall(r"\d+", version)[:3])) >= DAPHNE:
        return []
    return [
        Warning(
            f"daphne {version} takes messages of any size, so that any client can fill the memory.",
            f'Upgrade it: pip install "daphne>={".".join(map(str, DAPHNE))}".',
            id="wsconsumer.W001",
        )
    ]


def check_runserver(**_: Any) -> list[CheckMessage]:
    """W008: daphne is there, but ``manage.py runserver`` is Django's, which has no websockets."""
    if getattr(settings, "ASGI_APPLICATION", None) is None or apps.is_installed("daphne"):
        return []
    if find_spec("daphne") is None or not any(_websocket_routes()):
        return []
    return [
        Warning(
            "daphne is not in INSTALLED_APPS, so manage.py runserver serves no websockets.",
            'Put "daphne" first in INSTALLED_APPS.',
            id="wsconsumer.W008",
        )
    ]


def check_allowed_origins(**_: Any) -> list[CheckMessage]:
    """W002: somebody besides named sites may open sockets in visitors' browsers."""
    if not conf.is_good():
        return []
    return [
        Warning(
            f"WSCONSUMER['ALLOWED_ORIGINS'] has {entry!r}: {whom} can open sockets here in a "
            "visitor's browser, with every cookie that its SameSite lets go along.",
            "Name the origins that you mean, such as https://app.example.com.",
            id="wsconsumer.W002",
        )
        for entry in conf.get("ALLOWED_ORIGINS")
        if (whom := _whom_it_lets_in(Pattern.parse(entry))) is not None
    ]


def _whom_it_lets_in(pattern: Pattern) -> str | None:
    if pattern.scheme == ANY:
        return "any site"
    if pattern.scheme == "null":
        return "any site (in a sandboxed frame)"
    if pattern.scheme == "file":
        return "any local file that a browser shows"
    if pattern.host == ANY:
        return f"any page or extension of {pattern.scheme}://"
    return None


def check_csrf_trusted_origins(**_: Any) -> list[CheckMessage]:
    """W005: entries of ``CSRF_TRUSTED_ORIGINS`` that let no websocket in."""
    return [
        Warning(
            f"CSRF_TRUSTED_ORIGINS has {entry!r}, which lets no websocket in.",
            origins.find_problem(entry)
            or f"If websockets should, write {entry!r} in WSCONSUMER['ALLOWED_ORIGINS'].",
            id="wsconsumer.W005",
        )
        for entry in settings.CSRF_TRUSTED_ORIGINS
        if not _is_trusted_for_csrf(entry)
    ]


def _is_trusted_for_csrf(entry: str) -> bool:
    return origins.find_problem(entry) is None and Pattern.parse(entry).is_trusted_for_csrf


FUNCTIONS: Final = {
    "CLIENT_ADDRESS": "Name a function that takes the request and returns the client's address.",
    "THREAD_CONTEXT": "Name a function that takes the request and returns a context manager.",
}
"""Settings that are the dotted path of a function, and what to name there."""


def check_functions(**_: Any) -> list[CheckMessage]:
    """E007: what a setting names can't be imported."""
    return list(_missing_functions()) if conf.is_good() else []


def _missing_functions() -> Iterator[CheckMessage]:
    for setting, hint in FUNCTIONS.items():
        name = conf.get(setting)
        if name is None:
            continue
        try:
            import_string(name)
        except Exception as error:  # noqa: BLE001  # whatever the project's code raises
            yield Error(
                f"WSCONSUMER[{setting!r}] = {name!r} can't be imported: {explain_import(error)}.",
                hint,
                id="wsconsumer.E007",
            )


def _websocket_routes() -> list[Route]:
    """Return none where the settings or the URLconf are wrong, as E001 to E003 and E008 tell."""
    routes, _ = read_routes() if conf.is_good() else ([], None)
    return [route for route in routes if route.application is not None]


Check: TypeAlias = "Callable[..., list[CheckMessage]]"

CHECKS: Final[Mapping[Check, tuple[str, ...]]] = {
    check_settings: (),
    check_asgi_application: (),
    check_urlconf: (Tags.urls,),
    check_consumers: (Tags.urls,),
    check_order: (Tags.urls,),
    check_leftovers: (),
    check_daphne: (),
    check_runserver: (),
    check_groups: (),
    check_declared_groups: (),
    check_places_of_groups: (),
    check_processes: (),
    check_counting: (),
    check_addresses: (),
    check_pools: (),
    check_csrf_trusted_origins: (),
    check_functions: (),
}
"""Each check, with its tags besides "wsconsumer"."""

DEPLOY_CHECKS: Final[Mapping[Check, tuple[str, ...]]] = {check_allowed_origins: (Tags.security,)}
"""Those that are run with ``--deploy``."""


def register_checks() -> None:
    """Let Django know them."""
    for check, tags in CHECKS.items():
        register(check, "wsconsumer", *tags)
    for check, tags in DEPLOY_CHECKS.items():
        register(check, "wsconsumer", *tags, deploy=True)


def find_problems() -> list[CheckMessage]:
    """
    Run them all, as ``--deploy`` does where ``DEBUG`` is off; one that fails stops no other.

    Those of daphne's app say whether ``runserver`` is its own.
    """
    found = []
    of_daphne = (each for each in registry.get_checks() if each.__module__ == "daphne.checks")
    for check in (*CHECKS, *(() if settings.DEBUG else DEPLOY_CHECKS), *of_daphne):
        try:
            found += check(app_configs=None)
        except Exception as error:  # noqa: BLE001  # whatever the project's code raises
            found.append(Error(f"{check.__name__}() can't be run: {explain_import(error)}."))
    return [message for message in found if not message.is_silenced()]
