"""The project's URLs: pages and sockets alike are in the app's own `urls.py`."""

from django.urls import include, path

urlpatterns = [
    path("", include("demo.urls")),
]
