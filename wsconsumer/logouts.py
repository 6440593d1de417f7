"""
What Django tells of logins that end, and what becomes of their websockets.

A logout closes the websockets of its session, a new password and a deactivation those of the user.
No receiver here ever breaks what it is told of: what the engine does not take is logged, counted,
and left to ``revalidate_every``. ``connect_signals()`` is called by the app when it is ready.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save

from .counters import counters
from .disconnecting import order_for_session, order_for_user
from .groups.orders import atell, tell, tell_now
from .identities import key_of_user
from .log_thread import log
from .loops import in_event_loop, start_task
from .protocol import CloseCode
from .validity import PASSWORD_CHANGED, may_log_in

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from django.http import HttpRequest

    from .groups.orders import Order

logger = logging.getLogger("wsconsumer.groups")

IMPORTANT: Final = frozenset({"password", "is_active"})
"""The fields of a user by which their websockets may have to be closed."""

_telling: set[asyncio.Task[None]] = set()


def connect_signals() -> None:
    """Hear of logouts, passwords and users, once the apps are ready and if there are users."""
    if not apps.is_installed("django.contrib.auth"):
        return
    user_logged_out.connect(on_logout, dispatch_uid="wsconsumer.logouts")
    users = get_user_model()
    for model in apps.get_models():
        # Signals name the class of the instance, which may be a proxy or a model that inherits.
        if issubclass(model, users):
            name = f"wsconsumer.logouts.{model._meta.label}"  # noqa: SLF001  # Django's public one
            post_save.connect(on_save, sender=model, dispatch_uid=name)
            post_delete.connect(on_delete, sender=model, dispatch_uid=name)


def on_logout(request: HttpRequest | None = None, **_: object) -> None:
    """
    Close the websockets of the session that is about to be flushed.

    In a transaction it is told again after the commit: until then the session can still be loaded.
    """
    session = getattr(request, "session", None)
    key = getattr(session, "handshake_key", None) or getattr(session, "session_key", None)
    if not isinstance(key, str) or not key:
        return
    order = order_for_session(key, CloseCode.DISCONNECTED, "logged out")
    if in_event_loop():
        # With sessions that need no database, logout() works there too.
        task = start_task(_atell_quietly(order))
        _telling.add(task)
        task.add_done_callback(_telling.discard)
        return
    _quietly(tell_now, order)
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            transaction.on_commit(partial(_quietly, tell, order), connection.alias)


def on_save(
    instance: Any,
    created: bool,
    using: str,
    update_fields: Collection[str] | None = None,
    **_: object,
) -> None:
    """
    Close the websockets of a user with a new password, or who may log in no more.

    Cheap for all other saves: nothing is asked of the database, and nothing is told. A password is
    new if ``set_password()`` was called on this instance, or if it is named in ``update_fields``.
    """
    if created or not (update_fields is None or IMPORTANT.intersection(update_fields)):
        return
    try:
        may_stay = may_log_in(instance)
    except Exception as error:  # noqa: BLE001  # it is a backend of the project's
        log(logger, logging.ERROR, "A user who was saved could not be checked.", error=error)
        return
    if not may_stay:
        _close_after_commit(instance, using, CloseCode.DISCONNECTED, "deactivated")
    elif "password" in (update_fields or ()) or _has_new_password(instance):
        _close_after_commit(instance, using, CloseCode.NOT_AUTHENTICATED, PASSWORD_CHANGED)


def _has_new_password(user: Any) -> bool:
    """Return whether ``set_password()`` was called since the last save, as Django notes it."""
    return getattr(user, "_password", None) is not None


def on_delete(instance: Any, using: str, **_: object) -> None:
    """Close the websockets of a user who is deleted."""
    _close_after_commit(instance, using, CloseCode.DISCONNECTED, "deleted")


def _close_after_commit(user: Any, using: str, code: CloseCode, reason: str) -> None:
    if key_of_user(user) is None:
        return  # of a kind that no order can name, which is left to revalidate_every
    order = order_for_user(user, code, reason)
    try:
        transaction.on_commit(partial(_quietly, tell, order), using)
    except transaction.TransactionManagementError:
        # Whoever has switched autocommit off commits when they like, and nobody hears of it.
        _quietly(tell_now, order)


def _quietly(tell: Callable[[Order], None], order: Order) -> None:
    try:
        tell(order)
    except Exception as error:  # noqa: BLE001  # a logout is not to fail because of us
        _log_lost(order, error)


async def _atell_quietly(order: Order) -> None:
    try:
        await atell(order)
    except Exception as error:  # noqa: BLE001  # nobody awaits it
        _log_lost(order, error)


def _log_lost(order: Any, error: Exception) -> None:
    counters["disconnect_lost"] += 1
    log(
        logger,
        logging.ERROR,
        "Websockets stay open until revalidate_every looks at them, although their login has ended "
        "(%s): the processes could not be told.",
        order.reason,
        error=error,
    )
