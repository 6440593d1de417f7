"""Rooms and their messages."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse

from . import messages


class Room(models.Model):
    """A room; its name is also its address."""

    slug = models.SlugField("name", max_length=50, unique=True)

    objects: ClassVar[models.Manager[Room]]

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        return reverse("chat:room", args=[self.slug])

    def as_message(self) -> messages.Room:
        """Return what the page of rooms gets."""
        return messages.Room(id=self.pk, name=self.slug, url=self.get_absolute_url())


class Message(models.Model):
    """A message in a room."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.CharField(max_length=500)
    sent_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Message]]

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.text

    def as_message(self) -> messages.Said:
        """Return what the page of a room gets."""
        return messages.Said.from_model(self, author=self.author.get_username())
