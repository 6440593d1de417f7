"""The project's URLs: pages and sockets alike are in each app's own `urls.py`."""

from django.urls import include, path

urlpatterns = [
    path("", include("demo.urls")),
    path("", include("chat.urls")),
    path("accounts/", include("accounts.urls")),
]
