from django.urls import path

from .consumers import RoomsConsumer

websocket_urlpatterns = [path("ws/rooms/", RoomsConsumer.as_asgi())]
