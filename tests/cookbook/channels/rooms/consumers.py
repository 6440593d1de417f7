from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .models import Room


class RoomError(Exception):
    pass


class RoomsConsumer(AsyncJsonWebsocketConsumer):
    max_rooms = 50

    async def connect(self):
        self.rooms = set()
        self.user = self.scope["user"]
        if self.user.is_authenticated:
            await self.accept()
        else:
            await self.close()

    async def disconnect(self, code):
        for room in self.rooms:
            await self.channel_layer.group_discard(f"room.{room}", self.channel_name)

    async def receive_json(self, content):
        ref = content.get("ref")
        try:
            match content:
                case {"type": "enter", "room": str(room)}:
                    await self.enter(room)
                case {"type": "exit", "room": str(room)}:
                    await self.exit(room)
                case {"type": "say", "room": str(room), "text": str(text)}:
                    await self.say(room, text)
                case _:
                    raise RoomError("invalid")
        except RoomError as error:
            await self.send_json({"type": "error", "code": str(error), "ref": ref})
        else:
            if ref is not None:
                await self.send_json({"type": "ok", "ref": ref})

    async def enter(self, slug):
        if not await Room.objects.filter(slug=slug, members=self.user).aexists():
            raise RoomError("not_found")
        if len(self.rooms) == self.max_rooms:
            raise RoomError("too_many_rooms")
        self.rooms.add(slug)
        await self.channel_layer.group_add(f"room.{slug}", self.channel_name)

    async def exit(self, slug):
        self.check_entered(slug)
        self.rooms.discard(slug)
        await self.channel_layer.group_discard(f"room.{slug}", self.channel_name)

    async def say(self, slug, text):
        self.check_entered(slug)
        if not 1 <= len(text) <= 500:
            raise RoomError("invalid")
        said = {"type": "said", "room": slug, "author": self.user.get_username(), "text": text}
        await self.channel_layer.group_send(f"room.{slug}", {"type": "room.said", "content": said})

    async def room_said(self, event):
        await self.send_json(event["content"])

    def check_entered(self, slug):
        if slug not in self.rooms:
            raise RoomError("not_entered")
