"""The chat's sockets. The views for the same pages are in `views.py`."""

import os

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.shortcuts import aget_object_or_404

from wsconsumer.messages import MessageConsumer, on

from .forms import MessageForm
from .messages import Enter, IsTyping, List, Rooms, Said, Say, Typing, Welcome
from .models import Message, Room
from .realtime import conversation

ROOMS = "chat.rooms"  # the group of everybody who has the list of rooms open


class RoomsConsumer(MessageConsumer):
    """The list of rooms. New rooms come from the view that creates them."""

    sends = (Rooms,)

    async def connect(self) -> None:
        await self.join(ROOMS)  # before anybody asks for the list, so that no room is missed

    @on
    async def list_rooms(self, message: List) -> Rooms:
        return Rooms(rooms=[room.as_message() async for room in Room.objects.all()])


class RoomConsumer(MessageConsumer):
    """A room: each new message goes to everybody in it, and to those who come back later."""

    user: User  # always logged in: see login_required in urls.py
    sends = (Said, IsTyping)

    async def connect(self) -> None:
        self.room = await aget_object_or_404(Room, slug=self.kwargs["slug"])
        self.conversation = conversation(slug=self.room.slug)
        self.hints = f"chat.typing.{self.room.slug}"  # apart: nobody needs them later
        await self.join(self.conversation)
        await self.join(self.hints)

    @on
    async def enter(self, message: Enter) -> Welcome:
        return Welcome(process=os.getpid())

    @on
    async def say(self, message: Say) -> None:
        new = Message(room=self.room, author=self.user)
        form = MessageForm({"text": message.text}, instance=new)
        if not form.is_valid():
            raise ValidationError(form.errors.as_data())
        await new.asave()
        await self.broadcast(self.conversation, new.as_message())

    @on
    async def typing(self, message: Typing) -> None:
        hint = IsTyping(author=self.user.get_username())
        await self.broadcast(self.hints, hint, include_self=False)
