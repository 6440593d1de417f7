"""The chat's sockets. The views for the same pages are in `views.py`."""

import os
from typing import Any

import msgspec
from django.contrib.auth.models import User
from django.shortcuts import aget_object_or_404

from wsconsumer import WebsocketConsumer

from .forms import MessageForm
from .models import Message, Room

ROOMS = "chat.rooms"  # the group of everybody who has the list of rooms open
HISTORY = 50  # messages that a room shows when you come in


class ChatConsumer(WebsocketConsumer):
    """The base of the chat's sockets: they speak JSON."""

    async def reply(self, **content: Any) -> None:
        await self.send(msgspec.json.encode(content).decode())


class RoomsConsumer(ChatConsumer):
    """The list of rooms. New rooms come from the view that creates them."""

    async def connect(self) -> None:
        await self.join(ROOMS)  # before reading the list, so that no room is missed
        await self.accept()
        await self.reply(type="rooms", rooms=[room.as_dict() async for room in Room.objects.all()])


class RoomConsumer(ChatConsumer):
    """A room: its history, then each new message, to everybody in it."""

    user: User  # always logged in: see login_required in urls.py

    async def connect(self) -> None:
        self.room = await aget_object_or_404(Room, slug=self.kwargs["slug"])
        self.group = f"chat.room.{self.room.slug}"
        await self.join(self.group)
        await self.accept()
        await self.reply(type="welcome", process=os.getpid(), messages=await self.history())

    async def history(self) -> list[dict[str, Any]]:
        messages = Message.objects.filter(room=self.room).select_related("author")
        last = messages.order_by("-pk")[:HISTORY]
        return [message.as_dict() async for message in last][::-1]

    async def receive(self, data: str | bytes) -> None:
        try:
            content = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            content = None
        match content:
            case {"type": "say", "text": str(text)}:
                await self.say(text)
            case {"type": "typing"}:
                hint = {"type": "typing", "author": self.user.get_username()}
                await self.broadcast(self.group, hint, include_self=False)
            case _:
                await self.reply(type="error", detail="This room does not understand that message.")

    async def say(self, text: str) -> None:
        form = MessageForm({"text": text}, instance=Message(room=self.room, author=self.user))
        if form.is_valid():
            message = form.save(commit=False)
            await message.asave()
            await self.broadcast(self.group, {"type": "message", **message.as_dict()})
        else:
            await self.reply(type="error", detail=form.errors["text"][0])
