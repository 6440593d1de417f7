"""
The kit for testing consumers: a strict fake server, a client, and a clock that tests move.

``connect()`` runs one consumer, ``WebsocketClient`` the whole project. Nothing here is imported by
the package itself.
"""

from .broadcasts import Broadcast, captured_broadcasts
from .client import WebsocketClient
from .clock import advance
from .commits import run_on_commit
from .connecting import connect
from .contract import BackendContract
from .engine import real_engine
from .keeping import KeepingContract
from .leasing import LeasingContract
from .live import LiveWebsocketTestCase
from .logs import logs_in_place
from .page import Page
from .server import Denial, IllegalEvent
from .testcases import WebsocketTestMixin
from .websocket import Websocket

__all__ = [
    "BackendContract",
    "Broadcast",
    "Denial",
    "IllegalEvent",
    "KeepingContract",
    "LeasingContract",
    "LiveWebsocketTestCase",
    "Page",
    "Websocket",
    "WebsocketClient",
    "WebsocketTestMixin",
    "advance",
    "captured_broadcasts",
    "connect",
    "logs_in_place",
    "real_engine",
    "run_on_commit",
]
