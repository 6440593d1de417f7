"""Empty: each test maps its own consumers."""

from __future__ import annotations

urlpatterns: list[object] = []
