from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .models import Notification, group_of


class NotificationConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close()
            return
        self.unread = Notification.objects.filter(user=self.user, is_read=False)
        await self.channel_layer.group_add(group_of(self.user), self.channel_name)
        await self.accept()
        async for notification in self.unread.order_by("pk"):
            await self.send_json(notification.content)

    async def disconnect(self, code):
        if self.user.is_authenticated:
            await self.channel_layer.group_discard(group_of(self.user), self.channel_name)

    async def receive_json(self, content):
        match content:
            case {"type": "read", "id": int(pk)}:
                await self.unread.filter(pk=pk).aupdate(is_read=True)
                event = {"type": "user.told", "content": content}
                await self.channel_layer.group_send(group_of(self.user), event)

    async def user_told(self, event):
        await self.send_json(event["content"])
