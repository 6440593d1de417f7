from channels.generic.websocket import AsyncJsonWebsocketConsumer


class ChatConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close()
            return
        self.group = f"chat.{self.scope['url_route']['kwargs']['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        if self.user.is_authenticated:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        text = content.get("text")
        if not isinstance(text, str) or not 1 <= len(text) <= 500:
            await self.send_json({"type": "error", "code": "invalid"})
            return
        said = {"type": "said", "author": self.user.get_username(), "text": text}
        await self.channel_layer.group_send(self.group, {"type": "chat.said", "content": said})

    async def chat_said(self, event):
        await self.send_json(event["content"])
