"""What makes a good room, and a good message. The view asks the one, the consumer the other."""

from django.forms import modelform_factory

from .models import Message, Room

RoomForm = modelform_factory(Room, fields=("slug",))
MessageForm = modelform_factory(Message, fields=("text",))
