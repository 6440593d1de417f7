"""The pages of the chat: the list of rooms, and a room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.shortcuts import get_object_or_404, redirect, render
from django.views.generic import TemplateView

from wsconsumer import broadcast
from wsconsumer.live import LiveView

from .consumers import ROOMS
from .forms import RoomForm
from .messages import Rooms
from .models import Message, Room
from .realtime import conversation

if TYPE_CHECKING:
    from typing import Any

    from django.http import HttpRequest, HttpResponse

HISTORY = 50  # messages that a room shows when you come in


def rooms(request: HttpRequest) -> HttpResponse:
    """List the rooms; create one, and tell everybody who has the list open."""
    form = RoomForm(request.POST or None)
    if form.is_valid():
        room = form.save()
        broadcast(ROOMS, Rooms(rooms=[room.as_message()]), on_commit=True)
        return redirect(room)
    return render(request, "chat/rooms.html", {"form": form, "rooms": Room.objects.all()})


class RoomView(LiveView, TemplateView):
    """Show a room with its last messages. Its socket goes on from where the group stood before."""

    template_name = "chat/room.html"

    def get_live_groups(self) -> list[str]:
        return [conversation(slug=self.kwargs["slug"])]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        room = get_object_or_404(Room, slug=self.kwargs["slug"])
        messages = Message.objects.filter(room=room).select_related("author")
        last = messages.order_by("-pk")[:HISTORY]
        said = [message.as_message() for message in reversed(last)]
        return super().get_context_data(room=room, conversation=said, **kwargs)
