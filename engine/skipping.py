"""Leaving out the output that is being made: its branch is given up, and the run goes on with the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.plan import NEW, SKIPPED, WAITING, Step


def leave_out(roots: Sequence[Step], steps: Iterable[Step], at: Step) -> list[Step]:
    """Give up the first output that is neither there nor being written; give the stack of those still to be made.

    at: where the run noticed. Every step that waited begins anew, so that what the given-up branch shared with another
    one is made when that one asks for it; what is done stays, what runs beside comes to its end.
    """
    current = at if at.is_root else next((root for root in roots if root.state in (NEW, WAITING)), None)
    if current is not None:
        current.state = SKIPPED
    for step in steps:
        step.waiters = None
        if step.state == WAITING:
            step.state, step.waiting = NEW, 0
    return [root for root in reversed(roots) if root.state == NEW]
