"""``WebsocketTestMixin``: a ``WebsocketClient`` for Django's test case classes."""

from __future__ import annotations

from typing import Any

from django.utils.functional import cached_property

from ..groups.histories import histories
from .client import WebsocketClient
from .engine import in_memory


class WebsocketTestMixin:
    """
    Give each test a ``self.websocket_client``, as Django gives it ``self.async_client``.

    For ``TestCase``, ``TransactionTestCase`` and ``SimpleTestCase``::

        class ChatTests(WebsocketTestMixin, TestCase):
            async def test_echo(self):
                async with self.websocket_client.connect("/ws/echo/") as websocket:
                    ...

    What the tests broadcast stays in this process, unless ``real_engine`` decorates the class.
    """

    websocket_client_class: type[WebsocketClient] = WebsocketClient

    @classmethod
    def setUpClass(cls) -> None:
        case: Any = cls  # what this is mixed into
        case.enterClassContext(in_memory())  # first, since setUpTestData() may broadcast
        super().setUpClass()  # type: ignore[misc]  # the same

    def run(self, result: Any = None) -> Any:
        """Run a test, which finds nothing that groups of another one keep."""
        histories.clear()
        return super().run(result)  # type: ignore[misc]  # the same

    @cached_property
    def websocket_client(self) -> WebsocketClient:
        """A client of this test's own, with its own cookies."""
        return self.websocket_client_class()
