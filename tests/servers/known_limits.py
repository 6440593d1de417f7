"""What a server cannot do, and no adapter of ours can adapt: the one table of known limits.

A row says that a scenario fails on a server, and why. It is a claim under test: the scenario runs
all the same, and when it passes, or fails in another way, the suite fails until the row is gone.
"""

import sys
from dataclasses import dataclass
from http.client import RemoteDisconnected

from websockets.exceptions import InvalidMessage, InvalidStatus

from tests.servers.harness import COMMANDS


@dataclass(frozen=True)
class Limit:
    """Why a scenario cannot pass, the error that it ends in, and whether that is so on this Python.

    All cases of a scenario fail, or it has no row.
    """

    reason: str
    raises: type[BaseException] = AssertionError
    here: bool = True


NO_CODE = Limit("It reports a dropped TCP connection as 1005, as if a close frame had come.")
NO_CLOSE_EVENT = Limit("It reports every close as 1006, whatever the client's close frame said.")
NO_EXIT = Limit(
    "It waits for all clients to leave by themselves, without telling the application "
    "(https://github.com/pgjones/hypercorn/issues/308).",
    here=sys.version_info >= (3, 12),
)
NO_FAREWELL = Limit("It drops all TCP connections first, and reports 1005 to the application.")

NO_LONG_LINES = (
    "The websockets library reads header lines of up to 8 KiB: WEBSOCKETS_MAX_LINE_LENGTH."
)
NO_PINGS = Limit("It sends no pings, and has no setting for them.")
PONG_BEHIND_MESSAGES = Limit("It does not read the answer to its ping behind messages that wait.")

RESTART_CODES = {"granian": {1005, 1012}}
"""What `disconnect()` is told of a restart where it is not 1012 alone.

Granian drops the connections when it stops, and the application learns of some before it is told.
"""

KNOWN_LIMITS: dict[tuple[str, str], Limit] = {
    ("daphne", "a_page_under_way_is_finished"): Limit(
        "It stops without waiting for pages.", raises=RemoteDisconnected
    ),
    ("daphne", "a_cookie_of_20_kb"): Limit(
        "Twisted drops a request with more than 16 KiB of headers.", raises=InvalidMessage
    ),
    ("uvicorn-websockets", "a_cookie_of_9_kb"): Limit(NO_LONG_LINES, raises=InvalidStatus),
    ("uvicorn-websockets", "a_cookie_of_20_kb"): Limit(NO_LONG_LINES, raises=InvalidStatus),
    ("uvicorn-websockets", "a_client_whose_messages_wait_behind_a_hook_stays"): (
        PONG_BEHIND_MESSAGES
    ),
    ("uvicorn-sansio", "a_cookie_of_9_kb"): Limit(NO_LONG_LINES, raises=TimeoutError),
    ("uvicorn-sansio", "a_cookie_of_20_kb"): Limit(NO_LONG_LINES, raises=TimeoutError),
    ("uvicorn-sansio", "a_client_whose_messages_wait_behind_a_hook_stays"): PONG_BEHIND_MESSAGES,
    ("uvicorn-wsproto", "a_client_whose_messages_wait_behind_a_hook_stays"): PONG_BEHIND_MESSAGES,
    ("hypercorn", "a_client_that_answers_no_pings_is_dropped"): Limit(
        "It waits for no answer to its pings."
    ),
    ("granian", "an_idle_client_is_pinged"): NO_PINGS,
    ("granian", "a_client_that_answers_no_pings_is_dropped"): NO_PINGS,
    ("uvicorn-sansio", "client_vanishes_without_code"): NO_CODE,
    ("uvicorn-wsproto", "client_vanishes_without_code"): NO_CODE,
    ("uvicorn-wsproto", "own_international_origin"): Limit(
        "It puts the host into the scope in Unicode, where the wire has Punycode."
    ),
    ("hypercorn", "client_close_code"): NO_CLOSE_EVENT,
    ("hypercorn", "client_close_reason"): NO_CLOSE_EVENT,
    ("hypercorn", "client_close_without_code"): NO_CLOSE_EVENT,
    ("hypercorn", "the_process_exits_by_itself"): NO_EXIT,
    ("hypercorn", "every_client_is_told_of_the_restart"): NO_EXIT,
    ("hypercorn", "disconnect_is_told_of_the_restart"): NO_EXIT,
    ("hypercorn", "the_shutdown_is_quiet"): Limit(
        "The streams of this Python complain of each connection that hypercorn cancels.",
        here=sys.version_info < (3, 12),
    ),
    ("hypercorn", "stops_beside_a_task_that_swallows_its_cancellation"): Limit(
        "Its event loop waits at the end for every task that it cancelled."
    ),
    ("granian", "sends_accept_headers"): Limit(
        "It ignores the headers of websocket.accept.", raises=KeyError
    ),
    ("granian", "client_vanishes_without_code"): NO_CODE,
    ("granian", "client_vanishes_behind_unread_messages"): Limit(
        "It reads only for a receive(), and its socket can't be reached.", raises=TimeoutError
    ),
    ("granian", "client_close_reason"): Limit("It reports the client's close code alone."),
    ("granian", "every_client_is_told_of_the_restart"): NO_FAREWELL,
}
"""By server and scenario: a test's name without `test_`."""


def scenario_of(test: str) -> tuple[str, str]:
    """Return server and scenario of a test, like `test_server_close[daphne-1000]`."""
    name, _, ids = test.removeprefix("test_").removesuffix("]").partition("[")
    for server in COMMANDS:
        if ids == server or ids.startswith(f"{server}-"):
            return server, name
    return "", name
