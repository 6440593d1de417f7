"""The project's URLs: each app has its pages and sockets in its own `urls.py`."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("demo.urls")),
    path("", include("chat.urls")),
    path("accounts/", include("accounts.urls")),
    path("ws/docs/", include("wsconsumer.messages.docs")),
    path("admin/websockets/", include("wsconsumer.staff")),  # before the admin itself
    path("admin/", admin.site.urls),
]
