"""Two pages and their sockets, for members. Both redirect anonymous visitors to the login page."""

from django.contrib.auth.decorators import login_required
from django.urls import path

from . import consumers, views

app_name = "chat"

urlpatterns = [
    path("chat/", login_required(views.rooms), name="rooms"),
    path("chat/<slug:slug>/", login_required(views.RoomView.as_view()), name="room"),
    path("ws/chat/", login_required(consumers.RoomsConsumer.as_view()), name="rooms-socket"),
    path(
        "ws/chat/<slug:slug>/",
        login_required(consumers.RoomConsumer.as_view()),
        name="room-socket",
    ),
]
