"""
Groups of connections: join, leave, and broadcast to all that are in one.

Read ``hub.py`` first: who is in which group in this process, and fan-out. ``base.py`` is the
contract of what carries between processes.
"""

from .api import abroadcast, broadcast
from .declared import Group

__all__ = ["Group", "abroadcast", "broadcast"]
