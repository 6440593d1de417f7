"""An echo in plain ASGI, without this package: what a server does by itself."""

from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Send back each message as it came."""
    if scope["type"] != "websocket":
        raise NotImplementedError  # what ASGI asks for; a server then goes on without a lifespan
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
