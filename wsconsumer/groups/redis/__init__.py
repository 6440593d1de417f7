"""
The backend for Redis, Valkey and whatever speaks their protocol: publish/subscribe, and no more.

Read ``backend.py`` first, then ``node.py`` for how a server is listened to, ``cluster.py`` for
several, and ``location.py`` for the settings.
"""

from .backend import RedisBackend

__all__ = ["RedisBackend"]
