"""Group commit: one thread writes, and everything that waits for it shares one transaction and one fsync.

Sixteen clients that submit at once cost one flush of the disk, not sixteen. A transaction is flushed unless nothing in
it asks for that.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import FocalError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], Any]

BATCH_LIMIT = 256
"""Writes in one transaction: bounds how long the first of them waits for the last."""


class _Entry(NamedTuple):
    work: Work
    answer: "asyncio.Future[Any]"
    flushed: bool


class GroupWriter:
    """Runs pieces of work in the order they came, each in a savepoint of a shared transaction.

    A piece that fails is undone alone and its error goes to its caller; a commit that fails fails all of them.
    Belongs to the event loop that uses it. engine: heeds the execution option `flushed` (False: no fsync).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._unflushed = engine.execution_options(flushed=False)
        self._waiting: deque[_Entry] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job-store-writer")
        self._draining: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Connection], T], *, flushed: bool = True) -> T:
        """Run `work` in the writer thread; returns after the commit that contains it.

        flushed: the commit is on the disk then, and survives the loss of power as well as that of the process.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(work, answer, flushed))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="job-store-writer")
        return await answer

    async def close(self) -> None:
        """Write what is waiting, then stop."""
        if self._draining is not None:
            await self._draining
        self._thread.shutdown()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting)))]
            engine = self._engine if any(entry.flushed for entry in batch) else self._unflushed
            run = loop.run_in_executor(self._thread, _transact, engine, [entry.work for entry in batch])
            await asyncio.wait([run])
            error = run.exception()
            if error is not None:
                log.warning("A transaction of %d writes failed: %s", len(batch), error)
            _settle(batch, [error] * len(batch) if error else run.result())
        self._draining = None


def _transact(engine: Engine, works: list[Work]) -> list[Any]:
    """Give each work's result, or the error it ended with as a value."""
    if len(works) == 1:  # nothing else is undone with it, so it needs no savepoint
        try:
            with engine.begin() as connection:
                return [works[0](connection)]
        except (SQLAlchemyError, FocalError) as error:
            return [error]
    with engine.begin() as connection:
        return [_attempt(connection, work) for work in works]


def _attempt(connection: Connection, work: Work) -> Any:
    """Give the work's result, or the error it ended with as a value."""
    connection.exec_driver_sql("SAVEPOINT work")
    try:
        result = work(connection)
    except (SQLAlchemyError, FocalError) as error:
        try:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
        except SQLAlchemyError:  # a full disk ends the whole transaction, and with it what came before in it
            raise error from None
        result = error
    connection.exec_driver_sql("RELEASE SAVEPOINT work")
    return result


def _settle(batch: list[_Entry], results: list[Any]) -> None:
    for entry, result in zip(batch, results, strict=True):
        if entry.answer.done():  # its caller went away
            continue
        if isinstance(result, BaseException):
            entry.answer.set_exception(result)
        else:
            entry.answer.set_result(result)
