"""
A page for staff, in the admin's look: who is connected at this moment, and how to disconnect them.

Map it before the admin itself, which takes all that begins like it::

    path("admin/websockets/", include("wsconsumer.staff")),
    path("admin/", admin.site.urls),

``connected/`` asks and answers; ``views.py`` says whom the page is for, ``table.py`` what it shows,
``watching.py`` keeps it up to date, and ``static/wsconsumer/staff.js`` does so where that fails.
"""

from __future__ import annotations

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.urls import path

for _name in ("wsconsumer", "django.contrib.admin"):
    if not apps.is_installed(_name):
        raise ImproperlyConfigured(
            f'wsconsumer.staff needs "{_name}" in INSTALLED_APPS: its templates and static files '
            "are found there."
        )

from .views import page, table  # noqa: E402  # it imports what needs these apps
from .watching import Watch  # noqa: E402  # the same

app_name = "wsconsumer_staff"

urlpatterns = [
    path("", page, name="page"),
    path("table/", table, name="table"),
    path("watch/", Watch.as_view(), name="watch"),
]
