from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .models import Job


class JobConsumer(AsyncJsonWebsocketConsumer):
    job = None

    async def connect(self):
        user = self.scope["user"]
        pk = self.scope["url_route"]["kwargs"]["pk"]
        if user.is_authenticated:
            self.job = await Job.objects.filter(pk=pk, owner=user).afirst()
        if self.job is None:
            await self.close()
            return
        await self.channel_layer.group_add(self.job.group, self.channel_name)
        await self.accept()
        await self.job.arefresh_from_db()
        await self.send_json(self.job.content)

    async def disconnect(self, code):
        if self.job is not None:
            await self.channel_layer.group_discard(self.job.group, self.channel_name)

    async def receive_json(self, content):
        if content == {"type": "cancel"}:
            await database_sync_to_async(self.job.change)(state=Job.State.CANCELLED)

    async def job_changed(self, event):
        await self.send_json(event["content"])
