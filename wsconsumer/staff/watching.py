"""The websocket of the page: it sends the table anew, again and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied

from ..connected.asking import who_is_connected
from ..consumer import WebsocketConsumer
from ..exceptions import BackendError
from .access import NOT_VIEWING, may_close, may_view
from .filters import Filter
from .table import LIMIT, PATIENCE, context_of, rendered

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

PERIOD: Final = 3.0
"""Seconds between two tables."""


class Watch(WebsocketConsumer):
    """
    Sends the table for the filter in its query.

    It ends after some minutes, and the page comes back: so whoever has lost the permission sees no
    more.
    """

    max_lifetime = 300.0

    may_close = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let in who may see the page."""
        if not may_view(request):
            raise PermissionDenied(NOT_VIEWING)
        self.may_close = may_close(request)
        return super().dispatch(request, *args, **kwargs)

    async def connect(self) -> None:
        """Begin to tell."""
        await self.accept()
        self.spawn(self._tell())

    async def receive(self, data: str | bytes) -> None:
        """Ignore what comes."""

    async def _tell(self) -> None:
        selection = Filter(self.request.GET).selection
        while True:
            try:
                answers = await who_is_connected(selection, limit=LIMIT, patience=PATIENCE)
                context = context_of(answers, may_close=self.may_close, is_filtered=bool(selection))
            except BackendError as error:
                context = {"error": str(error)}
            await self.send(await sync_to_async(rendered)(context))
            await asyncio.sleep(PERIOD)
