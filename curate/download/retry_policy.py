"""How long to wait before a server is asked again, and when to give up."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import TypeVar

from manifests.ground.errors import SourceError

LOGGER = logging.getLogger(__name__)
WARNING_SECONDS = 5.0  # a wait as long as this is worth a warning

Result = TypeVar("Result")


class TransientError(Exception):
    """A failure that may not come again when the same is tried later.

    Attributes:
        retry_after_seconds: How long the server asks to be left alone, if it does.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        """Keep the reason and the server's wish."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class GaveUpError(SourceError):
    """A server, or the way to it, stayed out of order for longer than we wait."""


class StoppedError(Exception):
    """Somebody asked the download to end."""


@dataclass(frozen=True)
class RetryPolicy:
    """What is done about failures in a row; the caller says which failures make a row.

    Attributes:
        failures: So many in a row are met by waiting.
        first_seconds: Wait after the first one; doubled with every further one.
        longest_seconds: At most so long, unless the server asks for more.
        longest_retry_after_seconds: A server that asks for more than this is not waited for.
        jitter: Shortens the waits by up to a half, so that many clients do not return at once.
    """

    failures: int = 15
    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    longest_retry_after_seconds: float = 3600.0
    jitter: Random = field(default_factory=Random)
    stop: threading.Event = field(default_factory=threading.Event)
    sleep: Callable[[float], object] | None = None

    def wait_seconds(self, failure: int) -> float:
        """Return how long to wait after so many failures in a row, counted from 1."""
        longest = min(self.longest_seconds, self.first_seconds * 2 ** (failure - 1))
        return longest * self.jitter.uniform(0.5, 1.0)

    def wait(self, failure: int, error: TransientError, what: str) -> None:
        """Wait, or give up.

        Raises:
            GaveUpError: There were too many failures, or the server asks for too long a wait.
            StoppedError: The download is to end.
        """
        seconds = error.retry_after_seconds
        if seconds is not None and seconds > self.longest_retry_after_seconds:
            msg = (
                f"{what}: {error}, and asks for {seconds:,.0f} s of rest; run the same command "
                f"again after that: what has come is kept"
            )
            raise GaveUpError(msg) from error
        if failure > self.failures:
            msg = (
                f"{what}: gave up after {failure} failures in a row, the last: {error}; check the "
                f"network, and HTTPS_PROXY if it needs a proxy, and run the same command again: "
                f"what has come is kept"
            )
            raise GaveUpError(msg) from error
        if seconds is None:
            seconds = self.wait_seconds(failure)
        level = logging.WARNING if seconds >= WARNING_SECONDS else logging.INFO
        LOGGER.log(level, "%s: %s; again in %.0f s", what, error, seconds)
        (self.sleep or self.stop.wait)(seconds)
        self.raise_if_stopped()

    def raise_if_stopped(self) -> None:
        """Raise an error if the download is to end.

        Raises:
            StoppedError: It is.
        """
        if self.stop.is_set():
            raise StoppedError


def with_retries(action: Callable[[], Result], policy: RetryPolicy, *, what: str) -> Result:
    """Do something until it goes well.

    Raises:
        GaveUpError: It never did.
        StoppedError: The download is to end.
    """
    failure = 0
    while True:
        try:
            return action()
        except TransientError as error:
            failure += 1
            policy.wait(failure, error, what)


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks to wait; None if it asks for nothing.

    Source: RFC 9110, section 10.2.3.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
