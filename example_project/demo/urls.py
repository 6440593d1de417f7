"""A page and its sockets. You map, name and reverse a consumer like any other view."""

from django.contrib.auth.decorators import login_required
from django.urls import path

from . import consumers, views

app_name = "demo"

urlpatterns = [
    path("", views.IndexView.as_view(), name="index"),
    path("ws/ping/", consumers.PingConsumer.as_view(), name="ping"),
    path("ws/echo/", consumers.EchoConsumer.as_view(), name="echo"),
    path("ws/clock/", consumers.ClockConsumer.as_view(), name="clock"),
    path("ws/greeting/", consumers.GreetingConsumer.as_view(), name="greeting"),
    path("ws/members/", login_required(consumers.MembersConsumer.as_view()), name="members"),
]
