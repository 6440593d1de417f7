"""A consumer for each scenario, each no more than the scenario needs."""

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from tests.exceptions import ERRORS
from tests.servers.project.journal import note
from wsconsumer import WebsocketConsumer
from wsconsumer.addresses import client_address


class Observed(WebsocketConsumer):
    """Write the ends of a connection's life in the journal."""

    async def connect(self) -> None:
        self.note("connect")

    async def disconnect(self, code: int, reason: str) -> None:
        self.note("disconnect", code=code, reason=reason)

    def note(self, event: str, **facts: object) -> None:
        note(self.kwargs["key"], event, **facts)

    @asynccontextmanager
    async def noted(self, event: str) -> AsyncIterator[None]:
        """Write when the block began, and how it ended."""
        how = "returned"
        self.note(f"{event} began")
        try:
            yield
        except BaseException as error:
            how = f"raised {type(error).__name__}"
            raise
        finally:
            self.note(f"{event} ended", how=how)


class Echo(Observed):
    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


class Tells(Observed):
    """Say where the handshake came from, as a proxy in between has it."""

    async def connect(self) -> None:
        await self.accept()
        facts = {
            "address": client_address(self.request),
            "host": self.request.get_host(),
            "is_secure": self.request.is_secure(),
            "cookies": self.request.COOKIES,
            "authorization": self.request.headers.get("Authorization"),
            "subprotocols": self.scope["subprotocols"],
        }
        await self.send(json.dumps(facts))


class Describe(Observed):
    """Answer with the type and the length of what came in."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(f"{type(data).__name__} {len(data)}")


class EmptyFrames(Observed):
    """Send an empty text frame, an empty binary frame, and the word that ends them."""

    async def receive(self, data: str | bytes) -> None:
        await self.send("")
        await self.send(b"")
        await self.send("end")


class ChoosesSubprotocol(Observed):
    async def connect(self) -> None:
        await self.accept(subprotocol="chat.v2")


class AcceptsWithHeaders(Observed):
    async def connect(self) -> None:
        await self.accept(
            headers=[("X-Room", "lobby"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        )


class Closes(Observed):
    """Close with the code in the path, at the first message."""

    async def receive(self, data: str | bytes) -> None:
        await self.close(self.kwargs["code"], f"because {self.kwargs['code']}")


class ClosesAtOnce(Observed):
    """Accept, greet and close before anything came in."""

    async def connect(self) -> None:
        await self.accept()
        await self.send("sorry")
        await self.close(4001, "full")


class ClosesInTask(Observed):
    """Accept, and close in a task while the consumer waits for messages."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.close_later())

    async def close_later(self) -> None:
        # Runs when the consumer has nothing left to do but to wait.
        await self.close(4002, "time is up")


class Rejects(Observed):
    async def connect(self) -> None:
        await self.reject(status=451, body="not in this country", headers=[("X-Why", "law")])


class RaisesPermissionDenied(Observed):
    async def connect(self) -> None:
        raise PermissionDenied("members only")


class RaisesHttp404(Observed):
    async def connect(self) -> None:
        raise Http404("no such room")


class FailsInConnect(Observed):
    async def connect(self) -> None:
        raise RuntimeError(f"deliberate {self.kwargs['key']}")


class FailsInReceive(Observed):
    async def receive(self, data: str | bytes) -> None:
        raise RuntimeError(f"deliberate {self.kwargs['key']}")


class FailsInDisconnect(Observed):
    async def disconnect(self, code: int, reason: str) -> None:
        await super().disconnect(code, reason)
        raise RuntimeError(f"deliberate {self.kwargs['key']}")


class FailsInTask(Observed):
    """Fail in a task of the connection, at the first message."""

    async def receive(self, data: str | bytes) -> None:
        self.spawn(self.fail())

    async def fail(self) -> None:
        raise RuntimeError(f"deliberate {self.kwargs['key']}")


class WaitsInConnect(Observed):
    """Never decide."""

    async def connect(self) -> None:
        async with self.noted("wait"):
            await asyncio.Event().wait()


class WaitsInReceive(Observed):
    """Never finish with the first message."""

    async def receive(self, data: str | bytes) -> None:
        async with self.noted("wait"):
            await asyncio.Event().wait()


class WaitsInDisconnect(Observed):
    """Never finish with the end."""

    async def disconnect(self, code: int, reason: str) -> None:
        async with self.noted("disconnect"):
            await asyncio.Event().wait()


class WaitsInTask(Observed):
    """Keep a task that never ends by itself."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.wait())

    async def wait(self) -> None:
        async with self.noted("wait"):
            await asyncio.Event().wait()


class KeepsATask(Observed):
    """Keep a task that swallows every cancellation."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.stay())

    async def stay(self) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


class Exits(Observed):
    """End the process, as argparse does with what a client sent, in the hook in the path."""

    async def connect(self) -> None:
        await super().connect()
        if self.kwargs["where"] == "group":
            await self.join(self.kwargs["key"])

    async def receive(self, data: str | bytes) -> None:
        match self.kwargs["where"]:
            case "receive":
                raise SystemExit(2)
            case "group":
                await self.broadcast(self.kwargs["key"], data)
            case "spawned":
                self.spawn(self.end_it())

    async def group_message(self, group: str, data: object) -> None:
        raise SystemExit(2)

    async def end_it(self) -> None:
        raise SystemExit(2)


class SendsToAnother(Observed):
    """Greet the connection in the path before deciding on its own; it may have gone."""

    others: ClassVar[dict[str, WebsocketConsumer]] = {}

    async def connect(self) -> None:
        self.others[self.kwargs["key"]] = self
        if self.kwargs["who"] != self.kwargs["key"]:
            await self.others[self.kwargs["who"]].send("hello")


class Raises(Observed):
    """Raise the exception of that number in the hook in the path."""

    async def connect(self) -> None:
        await super().connect()
        match self.kwargs["where"]:
            case "connect":
                self.fail()
            case "accepted":
                await self.accept()
                self.fail()
            case "group":
                await self.join(self.kwargs["key"])

    async def receive(self, data: str | bytes) -> None:
        match self.kwargs["where"]:
            case "receive":
                self.fail()
            case "sent":
                await self.send(data)
                self.fail()
            case "group":
                await self.broadcast(self.kwargs["key"], data)
            case "spawned":
                self.spawn(self.fail_later())

    async def group_message(self, group: str, data: object) -> None:
        self.fail()

    async def disconnect(self, code: int, reason: str) -> None:
        await super().disconnect(code, reason)
        if self.kwargs["where"] == "disconnect":
            self.fail()

    async def fail_later(self) -> None:
        self.fail()

    def fail(self) -> None:
        raise ERRORS[self.kwargs["which"]]


class Counted(WebsocketConsumer):
    """Count how many came and left, for clients too many to be noted one by one."""

    connects = 0
    disconnects = 0

    async def connect(self) -> None:
        await self.accept()
        Counted.connects += 1

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)

    async def disconnect(self, code: int, reason: str) -> None:
        Counted.disconnects += 1


class Blocks(Counted):
    """Stop the event loop for as many seconds as a text says; answer when it goes on."""

    async def receive(self, data: str | bytes) -> None:
        if data != "echo":
            time.sleep(float(data))  # noqa: ASYNC251  # the mistake is what is wanted
        await self.send(data)


async def counts(request: HttpRequest) -> JsonResponse:
    """Tell the counts, and what the process holds once what waits for the collector is gone."""
    gc.collect()
    return JsonResponse(
        {
            "connects": Counted.connects,
            "disconnects": Counted.disconnects,
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "wall": int(time.time()),
        }
    )


class Pushes(Observed):
    """Send without end from a task, whether anybody reads or not."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.push())

    async def push(self) -> None:
        async with self.noted("push"):
            while True:
                await self.send("news" * 100)
                await asyncio.sleep(0.005)


class Pours(Observed):
    """Send so many numbered messages of so many bytes, as fast as the server takes them."""

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.pour())

    async def pour(self) -> None:
        for number in range(self.kwargs["count"]):
            await self.send(number.to_bytes(4).ljust(self.kwargs["size"], b"."))
            self.note("poured")


class TakesItsTime(Observed):
    """Wait in the first hook until somebody says go; answer a text with the numbers that came."""

    go: ClassVar[dict[str, asyncio.Event]] = {}

    async def connect(self) -> None:
        self.numbers: list[int] = []
        self.go[self.kwargs["key"]] = asyncio.Event()

    async def receive(self, data: str | bytes) -> None:
        await self.go[self.kwargs["key"]].wait()
        if isinstance(data, str):
            await self.send(json.dumps(self.numbers))
        else:
            self.numbers.append(int.from_bytes(data[:4]))


class SaysGo(Observed):
    """Let the connection in the path go on."""

    async def connect(self) -> None:
        TakesItsTime.go[self.kwargs["who"]].set()


class Member(Observed):
    """Broadcast what comes to the group in the path, whose member it is."""

    async def connect(self) -> None:
        await super().connect()
        await self.join(self.kwargs["group"])

    async def receive(self, data: str | bytes) -> None:
        await self.broadcast(self.kwargs["group"], data)


def plain_view(request: HttpRequest, key: str) -> HttpResponse:
    note(key, "view ran")
    return HttpResponse("plain")


def page(request: HttpRequest, key: str) -> HttpResponse:
    """A page with the script in the environment, which finds the key in the page's URL."""
    return HttpResponse(f"<script type=module>{os.environ['SCRIPT']}</script>")
