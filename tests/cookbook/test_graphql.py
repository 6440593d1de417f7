"""GraphQL subscriptions through ``asgi_view()``, in the protocol of ``graphql-ws``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async

from wsconsumer import abroadcast
from wsconsumer.test import WebsocketClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.contrib.auth.models import User

    from tests.cookbook.project import Project
    from wsconsumer.test import Websocket


@asynccontextmanager
async def subscribed(client: WebsocketClient, pk: int) -> AsyncIterator[Websocket]:
    """Open a websocket, and subscribe to the status of an order."""
    protocol = "graphql-transport-ws"
    async with client.connect("/ws/graphql/", subprotocols=[protocol]) as ws:
        assert ws.subprotocol == protocol
        await ws.send_json({"type": "connection_init"})
        assert (await ws.receive_json())["type"] == "connection_ack"
        query = "subscription ($pk: Int!) { orderStatus(pk: $pk) }"
        payload = {"query": query, "variables": {"pk": pk}}
        await ws.send_json({"type": "subscribe", "id": "1", "payload": payload})
        yield ws


def following(status: str) -> dict[str, Any]:
    """Return the message with a status."""
    return {"type": "next", "id": "1", "payload": {"data": {"orderStatus": status}}}


async def test_a_subscription(
    loaded: Project, websocket_client: WebsocketClient, admin_user: User
) -> None:
    """It gets the present status, each change, and nothing after it is completed."""
    order = await loaded.module("orders.models").Order.objects.acreate(customer=admin_user)
    await websocket_client.aforce_login(admin_user)
    async with subscribed(websocket_client, order.pk) as ws:
        assert await ws.receive_json() == following("received")
        await sync_to_async(order.set_status)("packed")
        assert await ws.receive_json() == following("packed")
        await ws.send_json({"type": "complete", "id": "1"})
        await ws.settle()
        await sync_to_async(order.set_status)("sent")
        await ws.expect_nothing()
    async with subscribed(websocket_client, order.pk) as ws:
        assert await ws.receive_json() == following("sent")


async def test_an_order_of_somebody_else(
    loaded: Project, websocket_client: WebsocketClient, admin_user: User
) -> None:
    """The subscription ends with an error; who has not logged in gets no websocket."""
    await websocket_client.aforce_login(admin_user)
    async with subscribed(websocket_client, 404) as ws:
        (error,) = (await ws.receive_json())["payload"]["errors"]
        assert error["message"] == "This is not an order of yours."
        assert (await ws.receive_json())["type"] == "complete"
    async with WebsocketClient().connect("/ws/graphql/") as stranger:
        assert not stranger.accepted


async def test_a_listener_that_does_not_read(loaded: Project) -> None:
    """What waits for it is bounded; beyond that it is told, and ends."""
    listening = loaded.module("orders.listening")
    listening.GroupConsumer.outbox_limit = 10_000
    async with listening.listen("order.1") as broadcasts:
        for _ in range(200):
            await abroadcast("order.1", {"status": "x" * 100})
        with pytest.raises(RuntimeError, match=r"Too slow for order.1: .* 1013"):
            [change async for change in broadcasts]
