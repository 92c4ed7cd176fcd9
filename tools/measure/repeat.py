"""Rounds that are repeated as long as there is time."""

import time

from common import say


def rounds(wanted, one_round, minutes=None, clock=time.monotonic):
    """Calls `one_round(is_odd)` so many times, but begins none that would end later than `minutes` after this
    call if it took as long as the one before; the first always takes place."""
    began = clock()
    for number in range(wanted):
        round_began = clock()
        say(f"round {number + 1} of {wanted}")
        one_round(number % 2 == 1)
        now = clock()
        is_last = number + 1 == wanted
        if minutes and not is_last and now + (now - round_began) > began + 60 * minutes:
            say(f"stopping after {number + 1} of {wanted} rounds: --minutes {minutes:g}")
            return
