"""Validation of rooms, for the view, and of messages, for the consumer."""

from django.forms import modelform_factory

from .models import Message, Room

RoomForm = modelform_factory(Room, fields=("slug",))
MessageForm = modelform_factory(Message, fields=("text",))
