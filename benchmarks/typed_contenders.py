"""
The applications that ``typed.py`` compares. Each takes a message with a text and a number, checks
both, and answers with a message that has the same text and the number after it.

Without ``from __future__ import annotations``: the classes are local, and some frameworks evaluate
annotations where those can't be seen.
"""

import json
import logging
from collections.abc import Callable
from typing import Any, Literal, cast

from benchmarks.rounds import Application, Receive, Scope, Send

RAW = "raw, json"
OURS = "wsconsumer"

TEXT = "hello, world: a chat message"


def is_valid(content: dict[str, Any]) -> bool:
    """Check the fields by hand."""
    return isinstance(content.get("text"), str) and isinstance(content.get("number"), int)


def raw(loads: Callable[[str], Any], dumps: Callable[[Any], str]) -> Application:
    """Return what one would write by hand, with a parser and an encoder of JSON."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            content = loads(event["text"])
            answer: dict[str, Any]
            if content.get("type") != "say":
                answer = {"type": "error", "code": "unknown_type"}
            elif not is_valid(content):
                answer = {"type": "error", "code": "invalid"}
            else:
                number = content["number"] + 1
                answer = {"type": "said", "text": content["text"], "number": number}
            await send({"type": "websocket.send", "text": dumps(answer)})

    return application


def raw_json() -> Application:
    """Use the standard library."""
    return raw(json.loads, json.dumps)


def raw_orjson() -> Application:
    """Use orjson."""
    import orjson

    return raw(orjson.loads, lambda content: orjson.dumps(content).decode())


def ours() -> Application:
    """Use ``wsconsumer.messages``."""
    from wsconsumer.messages import Message, MessageConsumer, on

    class Say(Message):
        text: str
        number: int

    class Said(Message):
        text: str
        number: int

    class Chat(MessageConsumer):
        @on
        async def say(self, message: Say) -> Said:
            return Said(message.text, message.number + 1)

    return Chat.as_asgi()


def channels() -> Application:
    """Use Channels' JSON consumer, which validates nothing, and the checks of the raw loop."""
    from channels.generic.websocket import AsyncJsonWebsocketConsumer

    class Consumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content.get("type") != "say":
                await self.send_json({"type": "error", "code": "unknown_type"})
            elif not is_valid(content):
                await self.send_json({"type": "error", "code": "invalid"})
            else:
                number = content["number"] + 1
                await self.send_json({"type": "said", "text": content["text"], "number": number})

    application: Application = Consumer.as_asgi()
    return application


def chanx() -> Application:
    """Use chanx on Channels, without its pause after each message that it sends, and its log."""
    import structlog
    from chanx.channels.websocket import AsyncJsonWebsocketConsumer
    from chanx.core.decorators import channel, ws_handler
    from chanx.messages.base import BaseMessage
    from pydantic import BaseModel

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    class Payload(BaseModel):
        text: str
        number: int

    class Say(BaseMessage):
        action: Literal["say"] = "say"
        payload: Payload

    class Said(BaseMessage):
        action: Literal["said"] = "said"
        payload: Payload

    @channel(name="chat")
    class Chat(AsyncJsonWebsocketConsumer):
        send_completion = False
        send_message_immediately = False

        @ws_handler
        async def say(self, message: Say) -> Said:
            payload = Payload(text=message.payload.text, number=message.payload.number + 1)
            return Said(payload=payload)

    application: Application = Chat.as_asgi()
    return application


def litestar() -> Application:
    """Use Litestar's listener, with msgspec and the DTO without which it validates nothing."""
    import msgspec
    from litestar import Litestar
    from litestar.dto import MsgspecDTO
    from litestar.handlers import websocket_listener

    class Say(msgspec.Struct):
        type: Literal["say"]
        text: str
        number: int

    class Said(msgspec.Struct, tag_field="type", tag="said"):
        text: str
        number: int

    @websocket_listener("/ws/echo/", dto=MsgspecDTO[Say], return_dto=None)
    async def chat(data: Say) -> Said:
        return Said(data.text, data.number + 1)

    application: Any = Litestar([chat])  # with types of its own for what ASGI has
    return cast("Application", application)


def fastapi() -> Application:
    """Use FastAPI, with pydantic models and its loop by hand, as its documentation does."""
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect
    from pydantic import BaseModel

    class Say(BaseModel):
        type: Literal["say"]
        text: str
        number: int

    class Said(BaseModel):
        type: Literal["said"] = "said"
        text: str
        number: int

    application = FastAPI()

    @application.websocket("/ws/echo/")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                message = Say.model_validate_json(await websocket.receive_text())
                answer = Said(text=message.text, number=message.number + 1)
                await websocket.send_text(answer.model_dump_json())
        except WebSocketDisconnect:
            return

    return application


CONTENDERS: dict[str, Callable[[], Application]] = {
    RAW: raw_json,
    "raw, orjson": raw_orjson,
    OURS: ours,
    "litestar": litestar,
    "fastapi": fastapi,
    "chanx": chanx,
    "channels": channels,
}

SLOW = ("channels", "chanx")
"""Those that take hundreds of times as long in process, so that they get fewer messages."""

PREFIX = "typed: "
"""What a contender's name begins with where it is one of many."""


def message_for(contender: str, number: int) -> str:
    """Return what a client sends."""
    if contender == "chanx":
        return json.dumps({"action": "say", "payload": {"text": TEXT, "number": number}})
    return json.dumps({"type": "say", "text": TEXT, "number": number})


def answer_of(contender: str, number: int) -> Any:
    """Return what the client has to be answered, decoded."""
    if contender == "chanx":
        return {"action": "said", "payload": {"text": TEXT, "number": number + 1}}
    return {"type": "said", "text": TEXT, "number": number + 1}
