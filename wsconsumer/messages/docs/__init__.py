"""
A page with the messages of every route, and a way to try them: for development, and for staff.

Map it with ``path("ws/docs/", include("wsconsumer.messages.docs"))``. What it shows is read in
``described``; what it does in the browser is in ``static/wsconsumer/docs.js``.
"""

from __future__ import annotations

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.urls import path

from .views import page

if not apps.is_installed("wsconsumer"):
    raise ImproperlyConfigured(
        'wsconsumer.messages.docs needs "wsconsumer" in INSTALLED_APPS: its template and '
        "static files are found there."
    )

app_name = "wsconsumer_docs"

urlpatterns = [path("", page, name="page")]
