"""
From the rendered page to its socket: nothing that happens in between is lost.

A page takes the positions of its groups first, and reads its state then: what is broadcast later
reaches its socket, whenever that opens. The other order loses what comes between the two.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.signing import BadSignature, SignatureExpired

from .consumer import WebsocketConsumer
from .escaping import escape, quote
from .groups.declared import kept
from .groups.framed import LOST
from .groups.loading import sync_backend
from .groups.names import check_group
from .groups.publication import keeping
from .live_token import LiveToken, owner_of, read_token, write_token
from .log_thread import log
from .loops import in_event_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


logger = logging.getLogger("wsconsumer.handshake")


def position(*groups: str, request: HttpRequest) -> str:
    """
    Return where groups stand now, as a signed text for the page that is being rendered.

    Take it before you read what the page shows. ``groups``: names of groups that keep.
    ``request``: the page's, for whose user alone the text is. The page gives it to its socket::

        new Socket("/ws/room/lobby/", { live: document.querySelector("main").dataset.live })

    Raises ``ValueError`` for a group that keeps nothing, ``BackendError`` if the engine can't be
    asked, and ``SynchronousOnlyOperation`` where an event loop runs: there it is ``aposition()``.
    """
    if in_event_loop():
        raise SynchronousOnlyOperation(
            "position() asks the engine behind the groups, and can't be called where an event loop "
            "runs. Write `await aposition(...)`."
        )
    resumed: list[str] = []
    for group in groups:
        check_group(group)
        kind = kept(group)
        if kind is None:
            raise ValueError(
                f"position() expects groups that keep, got {quote(group)}, which does not. Declare "
                "it: Group(template, keep=...) in realtime.py."
            )
        if kind.resume:
            resumed.append(group)
    found = keeping(sync_backend()).read_sync(resumed) if resumed else {}
    at = {group: found.get(group, LOST) for group in groups}
    return write_token(LiveToken(at, owner_of(getattr(request, "user", None))))


async def aposition(*groups: str, request: HttpRequest) -> str:
    """Do what ``position()`` does, from async code."""
    return await sync_to_async(position)(*groups, request=request)


class LiveView:
    """
    A mixin for Django's class-based views: ``live`` in the context, taken before anything is read.

    Say which groups the page is about, with ``live_groups`` or ``get_live_groups()``.
    """

    live_groups: Sequence[str] = ()

    request: HttpRequest
    _live: str

    def get_live_groups(self) -> Sequence[str]:
        """Override to name the groups by what is in the URL: ``self.kwargs`` is there."""
        return self.live_groups

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Take the positions first, then let the view read."""
        groups = self.get_live_groups()
        if not groups:
            raise ImproperlyConfigured(
                f"{type(self).__name__} is a LiveView without groups. Set live_groups, or override "
                "get_live_groups()."
            )
        self._live = position(*groups, request=request)
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]  # the view that it is mixed into
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add ``live`` to the context."""
        context: dict[str, Any] = super().get_context_data(**kwargs)  # type: ignore[misc]  # the view that it is mixed into
        return {"live": self._live, **context}


class LiveConsumer(WebsocketConsumer):
    """
    A consumer without code: its client gets what happens in the groups of its page.

    The text that ``position()`` made is the permission, for the user whom the page was rendered
    for, until the next day. Map it once: ``path("ws/live/", LiveConsumer.as_view())``.
    """

    async def connect(self) -> None:
        """Join the groups of the page."""
        token = await self._read()
        if token is not None:
            for group in token.at:
                if await self.allow(self.user, group):
                    await self.join(group)
                else:
                    await self._refuse(403, f"allow() says no to the group {quote(group)}")
                    return

    async def allow(self, user: AbstractBaseUser | AnonymousUser, group: str) -> bool:
        """
        Override to ask again, at each connection, whether this user may still hear a group.

        The page was rendered up to a day ago. As is, whoever got the page may.
        """
        return True

    async def _read(self) -> LiveToken | None:
        """Return what the token says, or refuse the handshake."""
        text = self._wsconsumer.connection.page.live
        try:
            token = read_token(text)
        except SignatureExpired:
            await self._refuse(401, "the page was rendered more than a day ago")
            return None
        except BadSignature:
            await self._refuse(403, "the client sends no text that position() made")
            return None
        if token.owner != await sync_to_async(owner_of)(self.user):
            await self._refuse(403, "the page was rendered for another user, or another password")
            return None
        return token

    async def _refuse(self, status: int, reason: str) -> None:
        log(
            logger,
            logging.WARNING,
            "Refused a websocket on %s with %d: %s.",
            escape(self.scope["path"]),
            status,
            reason,
            extra={"status_code": status},
            from_stranger=True,
        )
        await self.reject(status)
