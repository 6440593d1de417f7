"""What a hook raised, told to the log and to error trackers, and never to the client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core.signals import got_request_exception

from .counters import counters

if TYPE_CHECKING:
    from .handshake.views import ConsumerView

logger = logging.getLogger("wsconsumer.consumer")


async def report(consumer: ConsumerView, name: str, error: BaseException) -> None:
    """Log, count and signal an exception that came out of the consumer's hook ``name``."""
    request = consumer.request
    counters["hook_failed"] += 1
    logger.error(
        "%s.%s() failed on %s for %s",
        type(consumer).__name__,
        name,
        request.path,
        getattr(request, "user", "no user"),
        exc_info=error,
        extra={"request": request, "status_code": 500},
    )
    # In a thread like Django's own, and with sys.exc_info(), which error trackers read.
    await sync_to_async(got_request_exception.send_robust)(sender=type(consumer), request=request)
