"""A consumer for one call in ``connect()``, and what that call raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import disconnect, run
from wsconsumer import WebsocketConsumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def deciding(decide: Callable[[Any], Awaitable[None]]) -> type[WebsocketConsumer]:
    """Return a consumer whose ``connect()`` calls this with the consumer."""

    class Deciding(WebsocketConsumer):
        async def connect(self) -> None:
            await decide(self)

    return Deciding


async def error_in_connect(
    decide: Callable[[Any], Awaitable[None]], *kinds: type[Exception], **more: Any
) -> tuple[str, list[dict[str, Any]]]:
    """Return the text of the error that ``connect()`` met, and what was sent all the same."""
    texts = []

    async def catching(consumer: Any) -> None:
        with pytest.raises(kinds) as caught:
            await decide(consumer)
        texts.append(str(caught.value))

    messages = await run(deciding(catching).as_asgi(), disconnect(), **more)
    return texts[0], messages
