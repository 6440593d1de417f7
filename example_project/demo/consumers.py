"""Small sockets, simplest first. The page at `/` shows their traffic."""

import asyncio

from django.contrib.auth.models import User
from django.utils import timezone

from wsconsumer import WebsocketConsumer


class PingConsumer(WebsocketConsumer):
    """Answer `ping`, and ignore everything else."""

    async def receive(self, data: str | bytes) -> None:
        if data == "ping":
            await self.send("pong!")


class EchoConsumer(WebsocketConsumer):
    """Send every message back unchanged."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


class ClockConsumer(WebsocketConsumer):
    """Push the time until the client leaves."""

    interval = 1.0  # seconds

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.tick())  # ends with the connection

    async def tick(self) -> None:
        while True:
            await self.send(f"{timezone.now():%H:%M:%S} UTC")
            await asyncio.sleep(self.interval)


class GreetingConsumer(WebsocketConsumer):
    """Greet the visitor by name."""

    async def connect(self) -> None:
        await self.accept()
        if self.user.is_authenticated:
            await self.send(f"Hello {self.user}, you are logged in.")
        else:
            await self.send("Hello stranger. Log in and come back.")


class MembersConsumer(WebsocketConsumer):
    """Count the members, and repeat each message with its author."""

    async def connect(self) -> None:
        await self.accept()
        count = await User.objects.acount()
        await self.send(f"Members so far: {count}")

    async def receive(self, data: str | bytes) -> None:
        if isinstance(data, str):
            await self.send(f"{self.user}: {data}")
