"""Consumers that note what happens to them, for tests of a connection's life."""

from __future__ import annotations

from typing import Any

from wsconsumer import WebsocketConsumer


class Recorder(WebsocketConsumer):
    """Notes each hook in ``log``, which every test gives it anew."""

    log: list[Any] = []  # noqa: RUF012  # each test gives its own

    async def connect(self) -> None:
        self.log.append("connect")

    async def receive(self, data: str | bytes) -> None:
        self.log.append(data)

    async def disconnect(self, code: int, reason: str) -> None:
        self.log.append((code, reason))


class Chat(WebsocketConsumer):
    """Nothing but a name."""


class Failing(Recorder):
    """Fails in the hook that ``where`` names."""

    where = ""
    error: BaseException = RuntimeError("the secret")

    async def connect(self) -> None:
        await super().connect()
        self._fail("connect")

    async def receive(self, data: str | bytes) -> None:
        await super().receive(data)
        self._fail("receive")

    async def disconnect(self, code: int, reason: str) -> None:
        await super().disconnect(code, reason)
        self._fail("disconnect")

    def _fail(self, hook: str) -> None:
        if hook == self.where:
            raise self.error
