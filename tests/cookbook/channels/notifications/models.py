from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import models, transaction


class Notification(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.CharField(max_length=200)
    is_read = models.BooleanField(default=False)

    def __str__(self):
        return self.text

    @property
    def content(self):
        return {"type": "notification", "id": self.pk, "text": self.text}


def group_of(user):
    return f"notifications.{user.pk}"


def notify(user, text):
    notification = Notification.objects.create(user=user, text=text)
    event = {"type": "user.told", "content": notification.content}
    send = async_to_sync(get_channel_layer().group_send)
    transaction.on_commit(lambda: send(group_of(user), event))
