"""The sockets of the example project, smallest first. The page at `/` shows what they say."""

import asyncio

from django.utils import timezone

from wsconsumer import WebsocketConsumer


class PingConsumer(WebsocketConsumer):
    """Answer `ping`. Other words need no answer."""

    async def receive(self, data: str | bytes) -> None:
        if data == "ping":
            await self.send("pong!")


class EchoConsumer(WebsocketConsumer):
    """Send everything back as it came."""

    async def receive(self, data: str | bytes) -> None:
        await self.send(data)


class ClockConsumer(WebsocketConsumer):
    """Push the time, unasked, until the client leaves."""

    interval = 1.0  # seconds

    async def connect(self) -> None:
        await self.accept()
        self.spawn(self.tick())  # ends with the connection

    async def tick(self) -> None:
        while True:
            await self.send(f"{timezone.now():%H:%M:%S} UTC")
            await asyncio.sleep(self.interval)
