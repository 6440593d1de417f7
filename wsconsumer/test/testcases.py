"""``WebsocketTestMixin``: a ``WebsocketClient`` for Django's test case classes."""

from __future__ import annotations

from django.utils.functional import cached_property

from .client import WebsocketClient


class WebsocketTestMixin:
    """
    Give each test a ``self.websocket_client``, as Django gives it ``self.async_client``.

    For ``TestCase``, ``TransactionTestCase`` and ``SimpleTestCase``::

        class ChatTests(WebsocketTestMixin, TestCase):
            async def test_echo(self):
                async with self.websocket_client.connect("/ws/echo/") as websocket:
                    ...
    """

    websocket_client_class: type[WebsocketClient] = WebsocketClient

    @cached_property
    def websocket_client(self) -> WebsocketClient:
        """A client of this test's own, with its own cookies."""
        return self.websocket_client_class()
