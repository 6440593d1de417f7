"""The pages of the chat: the list of rooms, and a room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.shortcuts import get_object_or_404, redirect, render

from wsconsumer import broadcast

from .consumers import ROOMS
from .forms import RoomForm
from .messages import Rooms
from .models import Room

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def rooms(request: HttpRequest) -> HttpResponse:
    """List the rooms; create one, and tell everybody who has the list open."""
    form = RoomForm(request.POST or None)
    if form.is_valid():
        room = form.save()
        broadcast(ROOMS, Rooms(rooms=[room.as_message()]), on_commit=True)
        return redirect(room)
    return render(request, "chat/rooms.html", {"form": form, "rooms": Room.objects.all()})


def room(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a room; its socket fills in the messages."""
    return render(request, "chat/room.html", {"room": get_object_or_404(Room, slug=slug)})
