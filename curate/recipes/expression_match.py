"""Matching regular expressions of recipes, for so long as a sound expression may take."""

import re
import signal
import threading
from collections.abc import Callable

from manifests.ground.errors import SourceError

MATCH_SECONDS = 2  # of a processor, where a name takes microseconds

Match = re.Match[str] | None


def match_in_time(
    match: Callable[[str], Match], text: str, *, key: str, expression: str, table: str = "layout"
) -> Match:
    """Match a text, unless the expression tries too many ways to match.

    Args:
        match: `fullmatch` or `search` of the compiled expression.
        text: A case's name, or a path.
        key: What the recipe calls the expression.
        expression: As the recipe has it.
        table: Where in the recipe it stands.

    Raises:
        SourceError: It takes longer.
    """

    def give_up(_signal: int, _frame: object) -> None:
        msg = (
            f"{key} = {expression!r} in [{table}]: expected a regular expression that matches at "
            f"once; {text!r} took more than {MATCH_SECONDS} s: avoid repetitions within "
            f"repetitions, such as (a+)+"
        )
        raise SourceError(msg)

    # a match is one call into C, which looks for signals; they reach the main thread only
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "SIGVTALRM"
    ):
        return match(text)
    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, MATCH_SECONDS)
    try:
        return match(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
