"""Exceptions of every kind, for every hook."""

import asyncio
from typing import Final

ERRORS: Final[list[BaseException]] = [
    ValueError("text"),
    KeyError(1),
    StopIteration(),
    StopAsyncIteration(),
    SystemExit(2),
    GeneratorExit(),
    asyncio.CancelledError(),
    TimeoutError(),
    RecursionError(),
    OSError(32, "Broken pipe"),
    EOFError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ExceptionGroup("group", [ValueError(), KeyError()]),
    BaseExceptionGroup("group", [SystemExit(1), ValueError()]),
    BaseExceptionGroup("group", [asyncio.CancelledError(), ValueError()]),
]
