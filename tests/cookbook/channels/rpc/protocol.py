import asyncio
import json
import logging
from contextlib import aclosing
from inspect import isasyncgenfunction
from typing import Literal, get_type_hints

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from msgspec import UNSET, Struct, UnsetType, ValidationError, convert

logger = logging.getLogger(__name__)


class Request(Struct):
    jsonrpc: Literal["2.0"]
    method: str
    params: dict = {}
    id: int | str | UnsetType = UNSET


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def methods_of(*functions):
    return {each.__name__: (each, get_type_hints(each)["params"]) for each in functions}


class RpcConsumer(AsyncJsonWebsocketConsumer):
    limit = 16

    async def connect(self):
        self.running = {}
        if self.scope["user"].is_authenticated:
            await self.accept()
        else:
            await self.close()

    async def disconnect(self, code):
        tasks = list(self.running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def receive(self, text_data=None, bytes_data=None):
        try:
            content = json.loads(text_data or bytes_data)
        except ValueError as error:
            await self.fail(None, -32700, str(error))
        else:
            await self.receive_json(content)

    async def receive_json(self, content):
        try:
            request = convert(content, Request)
        except ValidationError as error:
            await self.fail(None, -32600, str(error))
            return
        key = object() if request.id is UNSET else request.id
        match content:
            case {"method": "cancel", "params": {"id": int() | str() as key}}:
                if task := self.running.pop(key, None):
                    task.cancel()
                    await self.fail(key, -32800, "Cancelled")
            case _ if key in self.running or len(self.running) == self.limit:
                await self.fail(request.id, -32000, "Too many requests at a time")
            case _:
                self.running[key] = asyncio.create_task(self.answer(request, key))

    async def answer(self, request, key):
        try:
            answer = {"result": await self.call(request)}
        except RpcError as error:
            answer = {"error": {"code": error.code, "message": str(error)}}
        except Exception:
            logger.exception("The method %s failed", request.method)
            answer = {"error": {"code": -32603, "message": "Internal error"}}
        self.running.pop(key, None)
        await self.reply(request.id, answer)

    async def call(self, request):
        try:
            method, kind = self.methods[request.method]
            params = convert(request.params, kind)
        except KeyError:
            raise RpcError(-32601, "Method not found") from None
        except ValidationError as error:
            raise RpcError(-32602, str(error)) from None
        if isasyncgenfunction(method):
            return await self.stream(request.id, method(self, params))
        return await method(self, params)

    async def stream(self, key, items):
        async with aclosing(items):
            async for item in items:
                told = {"id": key, "item": item}
                await self.send_json({"jsonrpc": "2.0", "method": "stream", "params": told})

    async def fail(self, key, code, message):
        await self.reply(key, {"error": {"code": code, "message": message}})

    async def reply(self, key, answer):
        if key is not UNSET:
            await self.send_json({"jsonrpc": "2.0", "id": key, **answer})
