"""
What a client is told that gets an error: ``MessageError``, and what other exceptions become.

An exception that is not in this table is a fault of the server's: it is logged, and the client gets
``internal_error`` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.http import Http404
from msgspec import UNSET

from ..cancellation import consists_of
from ..exceptions import WsconsumerError
from .types import Error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INVALID: Final = "invalid"
UNKNOWN_TYPE: Final = "unknown_type"
PERMISSION_DENIED: Final = "permission_denied"
NOT_FOUND: Final = "not_found"
TOO_MANY_REQUESTS: Final = "too_many_requests"
REF_IN_USE: Final = "ref_in_use"
CANCELLED: Final = "cancelled"
INTERNAL_ERROR: Final = "internal_error"

CODES: Final[Mapping[str, str]] = {
    INVALID: "The message could not be read, or a value in it is not valid.",
    UNKNOWN_TYPE: "No handler has this type of message.",
    PERMISSION_DENIED: "The user may not do this.",
    NOT_FOUND: "What the message is about does not exist.",
    TOO_MANY_REQUESTS: "Too many requests of this connection are being answered.",
    REF_IN_USE: "A request with this ref is still being answered.",
    CANCELLED: "The client cancelled the request.",
    INTERNAL_ERROR: "The server failed. Its log says why.",
}
"""The codes of errors that any consumer may send, with what they mean."""


class MessageError(WsconsumerError):
    """
    Raise it in a handler to answer with an error; the connection stays.

    ``code`` is for programs, ``detail`` for people. ``fields`` has messages by the field that they
    are about.
    """

    def __init__(
        self, code: str, detail: str = "", fields: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.fields = fields


def error_for(error: BaseException) -> Error | None:
    """Return what the client is told of an exception; ``None`` if that is nothing."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return error_for(error.exceptions[0])
    if isinstance(error, MessageError):
        fields = UNSET if error.fields is None else error.fields
        return Error(code=error.code, detail=str(error.detail), fields=fields)
    if isinstance(error, ValidationError):
        return _invalid(error)
    for kind, code in ((PermissionDenied, PERMISSION_DENIED), (Http404, NOT_FOUND)):
        if consists_of(error, kind):
            return Error(code=code, detail=CODES[code])
    return None


def _invalid(error: ValidationError) -> Error:
    if not hasattr(error, "error_dict"):
        return Error(code=INVALID, detail=" ".join(error.messages))
    fields = {name: list(map(str, texts)) for name, texts in error.message_dict.items()}
    general = fields.get(NON_FIELD_ERRORS) or [text for texts in fields.values() for text in texts]
    return Error(code=INVALID, detail=" ".join(general), fields=fields)
