from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import models, transaction


class Job(models.Model):
    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField()

    def __str__(self):
        return f"job {self.pk}"

    @property
    def group(self):
        return f"job.{self.pk}"

    @property
    def content(self):
        return {"state": self.state, "done": self.done, "total": self.total}

    def change(self, **values):
        alive = Job.objects.filter(pk=self.pk, state__in=[self.State.QUEUED, self.State.RUNNING])
        if not alive.update(**values):
            return False
        self.refresh_from_db()
        send = async_to_sync(get_channel_layer().group_send)
        event = {"type": "job.changed", "content": self.content}
        transaction.on_commit(lambda: send(self.group, event))
        return True
