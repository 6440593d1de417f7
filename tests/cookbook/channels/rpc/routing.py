from django.urls import path

from .consumers import CalculatorConsumer

websocket_urlpatterns = [path("ws/rpc/", CalculatorConsumer.as_asgi())]
