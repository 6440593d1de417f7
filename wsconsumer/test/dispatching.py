"""
From a scope to a running consumer in a test: one class without URL and middleware, or the project.

One consumer gets what its view gets: a request, ``setup()`` and ``dispatch()``, in a thread. What
``dispatch()`` answers instead of the upgrade is the denial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.handlers.exception import convert_exception_to_response
from django.urls import ResolverMatch

from ..asgi import WebsocketDispatcher
from ..handshake.handler import Handshake, Upgrade, without_pages
from ..log_thread import enable_loggers
from ..per_thread import adapt_handlers
from ..threads import in_handshake_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from ..consumer import WebsocketConsumer
    from ..handshake.handler import Denial
    from ..handshake.request import WebsocketRequest
    from ..protocol import Scope


class ProjectDispatcher(WebsocketDispatcher):
    """The project's own, which tells the ``Websocket`` of a test what serves it."""

    async def _answer(self, scope: Scope) -> Upgrade | Denial:
        outcome = await super()._answer(scope)
        if isinstance(outcome, Upgrade):
            scope["wsconsumer.test"].served_by(outcome.application)
        return outcome


class ConsumerDispatcher(ProjectDispatcher):
    """Serves one class, with these ``kwargs``, user and session."""

    def __init__(
        self, consumer: type[WebsocketConsumer], kwargs: Mapping[str, Any], user: Any, session: Any
    ) -> None:
        # Not the base's, which loads the project's middleware.
        enable_loggers()
        adapt_handlers()
        self._handshake = ConsumerHandshake(consumer, kwargs, user, session)


class ConsumerHandshake(Handshake):
    """A handshake of which only the view is left."""

    def __init__(
        self, consumer: type[WebsocketConsumer], kwargs: Mapping[str, Any], user: Any, session: Any
    ) -> None:
        super().__init__()
        self._match = ResolverMatch(consumer.as_view(), (), dict(kwargs))
        self._facts = {"user": _anonymous() if user is None else user, "session": session}

    async def __call__(self, request: WebsocketRequest) -> Upgrade | Denial:
        """Answer a request for a websocket."""
        for name, value in self._facts.items():
            if value is not None:
                setattr(request, name, value)
        return await in_handshake_thread(self._answer)(request)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load none."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = without_pages(
            convert_exception_to_response(self._get_response), is_async
        )

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Return what the view answers; without Django's ``ROOT_URLCONF``, which nothing needs."""
        response: HttpResponseBase = self._middleware_chain(request)
        return response

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Find the one view, whatever the path."""
        request.resolver_match = self._match
        return self._match


def _anonymous() -> Any:
    """Return an anonymous user, if the project has users."""
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()
