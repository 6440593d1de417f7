"""Websockets that are opened with tokens, and who is then said to be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsconsumer import WebsocketConsumer
from wsconsumer.test import WebsocketClient

if TYPE_CHECKING:
    from wsconsumer.test import Denial


class Who(WebsocketConsumer):
    """Says who is there, and what they were authenticated with."""

    async def connect(self) -> None:
        await self.accept()
        request: Any = self.request
        await self.send(f"{self.user} {type(request.auth).__name__}")


async def who(
    path: str = "/ws/", authorization: str = "", client: WebsocketClient | None = None, **more: Any
) -> str:
    """Open a websocket that is accepted, and return what its consumer says."""
    headers = {"Authorization": authorization} if authorization else {}
    async with (client or WebsocketClient()).connect(path, headers=headers, **more) as ws:
        assert ws.accepted, ws.denial
        said = await ws.receive()
        assert isinstance(said, str)
        return said


async def denial(
    path: str = "/ws/", authorization: str = "", client: WebsocketClient | None = None, **more: Any
) -> Denial:
    """Ask for a websocket that is denied, and return the response."""
    headers = {"Authorization": authorization} if authorization else {}
    async with (client or WebsocketClient()).connect(path, headers=headers, **more) as ws:
        assert ws.denial is not None
        return ws.denial
