"""Collect requests and compute those of one size together with one engine."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from depth_anything_3.errors import DA3Error, DeviceError, DeviceMemoryError
from depth_anything_3.inference.batch_limit import BatchLimit
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import BatchOptions, NetworkOptions
from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.prediction import Prediction
from depth_anything_3.services.server.problems import draining, late

__all__ = ["DepthRequest", "Scheduler", "Ticket"]

logger = logging.getLogger(__name__)

_MAX_BATCH_SECONDS = 20.0  # a thread that computes longer ends with the process
_MIN_ROUND = 4  # images prepared together, so that workers decode in parallel

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class DepthRequest:
    """An image to compute.

    Attributes:
        source: its file in memory, with the name for messages.
        preprocess: options; requests with equal ones are computed together.
        deadline: time of `time.monotonic` after which it is not begun; None: never too late.
    """

    source: ImageSource
    preprocess: PreprocessOptions
    deadline: float | None = None


@dataclass(eq=False)
class Ticket:
    """A request in the scheduler.

    Attributes:
        future: gets the prediction, or the error. Cancelling it drops a request that has not begun.
        queued_seconds: time until it began.
        alone: whether it is computed with no other request in progress, because one of those before failed.
    """

    request: DepthRequest
    future: Future[Prediction] = field(default_factory=Future)
    queued_at: float = field(default_factory=time.monotonic)
    queued_seconds: float = 0.0
    alone: bool = False

    def finish(self, result: Prediction | BaseException) -> None:
        """Deliver the result; nothing happens if there is one already."""
        with suppress(InvalidStateError):
            if isinstance(result, BaseException):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Deliver an error, begun or not; nothing happens if there is a result already, or it was cancelled."""
        if self.future.running() or (not self.future.done() and self.future.set_running_or_notify_cancel()):
            self.finish(error)


@dataclass(frozen=True, eq=False)
class _Exclusive:
    """Work that has the engine for itself."""

    work: Callable[[], Any]  # Any: what the work returns
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> BaseException | None:
        """Do the work; return its error."""
        try:
            result = self.work()
        except BaseException as error:  # delivered to whoever waits
            self.fail(error)
            return error
        with suppress(InvalidStateError):
            self.future.set_result(result)
        return None

    def fail(self, error: BaseException) -> None:
        """Deliver an error; nothing happens if there is a result already."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(eq=False)
class _Pass:
    """Tickets of one pass through the engine, in the order of their numbers there.

    Attributes:
        ended: whether the engine takes no more batches, because it failed or the scheduler is closed.
    """

    in_order: deque[Ticket] = field(default_factory=deque)
    count: int = 0
    ended: bool = False

    def number(self, ticket: Ticket) -> int:
        self.in_order.append(ticket)
        self.count += 1
        return self.count - 1


class Scheduler:
    """Computes requests in a thread of its own, while the images of the next ones are decoded.

    Requests that wait are taken in rounds: the oldest one, and those with its options. The engine groups the images
    of a round by size, and halves batches that memory does not hold. A failed image fails its request only: if the
    computation itself fails, the requests in progress are computed again, one at a time.

    Args:
        engine: the network; used by nothing else while this is open.
        batching: batch size.
        batch_wait: seconds to wait for a batch to fill up, if batches may hold more than one image.
        on_batch: called with the number of images of each batch.
        on_done: called after each prediction.
    """

    def __init__(
        self,
        engine: Engine,
        batching: BatchOptions,
        batch_wait: float = 0.0,
        *,
        on_batch: Callable[[int], None] = lambda count: None,
        on_done: Callable[[Prediction], None] = lambda prediction: None,
    ) -> None:
        self._engine, self._batch_wait = engine, batch_wait
        self._limit = BatchLimit(batching, engine.device)
        self._on_batch, self._on_done = on_batch, on_done
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._in_progress: list[Ticket] = []
        self._exclusive: deque[_Exclusive] = deque()
        self._running: _Exclusive | None = None
        self._requests_first = False  # after exclusive work, a round of requests is next
        self._closed = False
        self._broken: DeviceError | None = None
        self._thread: threading.Thread | None = None

    @property
    def broken(self) -> DeviceError | None:
        """The error of the device, after which nothing can be computed; None: it works."""
        return self._broken

    @property
    def waiting(self) -> int:
        """Number of requests that have not begun."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="da3-serve", daemon=True)
        self._thread.start()

    def submit(self, request: DepthRequest) -> Ticket:
        """Queue a request; the caller bounds their number.

        Raises:
            DeviceError: the device has failed.
        """
        if self._broken is not None:
            raise self._broken
        ticket = Ticket(request)
        with self._changed:
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def exclusive(self, work: Callable[[], Result]) -> Future[Result]:
        """Queue work that uses the engine alone. Between two such works, a round of requests is computed.

        Raises:
            DeviceError: the device has failed.
            Problem: 503, the scheduler is closed.
        """
        if self._broken is not None:
            raise self._broken
        one = _Exclusive(work)
        with self._changed:
            if self._closed:
                raise draining()
            self._exclusive.append(one)
            self._changed.notify_all()
        return one.future

    def abandon(self) -> None:
        """Fail all requests and exclusive work; results of those in progress are dropped."""
        with self._changed:
            dropped, self._waiting = [*self._in_progress, *self._waiting], deque()
            exclusive, self._exclusive = [*filter(None, [self._running]), *self._exclusive], deque()
        for one in exclusive:
            one.fail(draining())
        for ticket in dropped:
            ticket.fail(draining())

    def close(self) -> None:
        """Fail all requests and end the thread after the batch in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.abandon()
        if self._thread is not None:
            self._thread.join(_MAX_BATCH_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            self._run_exclusive()
            run = _Pass()
            try:
                with closing(self._predictions(run)) as predictions:
                    for prediction in predictions:
                        self._finish(run.in_order.popleft(), prediction)
            except Exception as error:  # anything: a bug in one of the libraries must not end the server
                self._recover(error)

    def _run_exclusive(self) -> None:
        """Do the next exclusive work, if it is its turn."""
        with self._changed:
            if not self._is_exclusive_next():
                return
            one = self._running = self._exclusive.popleft()
        error = one.run()
        with self._changed:
            self._running = None
            self._requests_first = True
        if isinstance(error, DeviceError) and not isinstance(error, DeviceMemoryError):
            self._recover(error)

    def _is_exclusive_next(self) -> bool:
        return bool(self._exclusive) and not (self._requests_first and self._waiting)

    def _predictions(self, run: _Pass) -> Generator[Prediction, None, None]:
        def failed(failure: ImageFailure) -> None:
            self._finish(run.in_order.popleft(), failure.error)

        batches = self._until_closed(self._engine.in_background(self._batches(run), ahead=1), run)
        yield from self._engine.compute(batches, self._limit, failed, NetworkOptions())

    def _until_closed(
        self, batches: Generator[ProcessedBatch | ImageFailure, None, None], run: _Pass
    ) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        """Pass batches on; when closed, first wake the thread that waits for requests, which `batches` waits for."""
        with closing(batches):
            try:
                for batch in batches:  # noqa: UP028 (`yield from` would close them first)
                    yield batch
            finally:
                with self._changed:
                    run.ended = True
                    self._changed.notify_all()

    def _batches(self, run: _Pass) -> Generator[ProcessedBatch | ImageFailure, None, None]:
        """Yield prepared images of all rounds, numbered in this order, until the scheduler is closed."""
        while tickets := self._take(run):
            batches = self._engine.input_processor.batches(
                [ticket.request.source for ticket in tickets],  # type: ignore[misc]  # sources are images too
                tickets[0].request.preprocess,
                batch_size=self._limit.expected,
                limit=self._limit,
                on_shortage=self._limit.fail,
            )
            with closing(batches):
                for batch in batches:
                    yield self._numbered(batch, tickets, run)

    def _numbered(
        self, item: ProcessedBatch | ImageFailure, tickets: Sequence[Ticket], run: _Pass
    ) -> ProcessedBatch | ImageFailure:
        if isinstance(item, ImageFailure):
            return replace(item, index=run.number(tickets[item.index]))
        if item.images:
            self._on_batch(len(item.images))
        failures = tuple(replace(one, index=run.number(tickets[one.index])) for one in item.failures)
        images = tuple(replace(one, index=run.number(tickets[one.index])) for one in item.images)
        return replace(item, failures=failures, images=images)

    def _take(self, run: _Pass) -> list[Ticket]:
        """Wait for requests and take a round; nothing once closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._is_at_end(run) or self._may_take())
                if self._is_at_end(run):
                    return []
                self._drop_late()
                if self._waiting and not self._waiting[0].alone:
                    self._await_batch()
                taken = self._pick()
                if taken:
                    break
            now = time.monotonic()
            for ticket in taken:
                ticket.queued_seconds = now - ticket.queued_at
            self._in_progress += taken
            self._requests_first = False
        return taken

    def _is_at_end(self, run: _Pass) -> bool:
        """Whether the pass takes no more requests: it failed, or others use the engine next."""
        return self._closed or run.ended or (self._is_exclusive_next() and not self._in_progress)

    def _may_take(self) -> bool:
        return bool(self._waiting) and not self._is_exclusive_next() and not self._is_blocked()

    def _await_batch(self) -> None:
        """Wait a moment for a batch to fill up, if batches may hold more than one image."""
        full = self._limit.expected
        if full > 1 and self._batch_wait:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) >= full, self._batch_wait)

    def _is_blocked(self) -> bool:
        """Whether a request that is to be computed alone is in progress, or is next and others are in progress."""
        return bool(self._in_progress) and (self._in_progress[0].alone or self._waiting[0].alone)

    def _pick(self) -> list[Ticket]:
        """Remove the oldest request, and those with the same options, from the queue."""
        taken: list[Ticket] = []
        left: deque[Ticket] = deque()
        most = max(_MIN_ROUND, 2 * self._limit.expected)
        while self._waiting:
            ticket = self._waiting.popleft()
            if ticket.alone:
                (left if taken else taken).append(ticket)
                break
            fits = not taken or ticket.request.preprocess == taken[0].request.preprocess
            if len(taken) >= most or not fits:
                left.append(ticket)
            elif ticket.future.set_running_or_notify_cancel():
                taken.append(ticket)
        self._waiting = left + self._waiting
        return taken

    def _drop_late(self) -> None:
        now = time.monotonic()
        kept: deque[Ticket] = deque()
        for ticket in self._waiting:
            deadline = ticket.request.deadline
            if deadline is None or now <= deadline:
                kept.append(ticket)
            elif ticket.alone or ticket.future.set_running_or_notify_cancel():
                ticket.finish(late(now - ticket.queued_at))
        self._waiting = kept

    def _finish(self, ticket: Ticket, result: Prediction | DA3Error) -> None:
        with self._changed:
            self._in_progress.remove(ticket)
            self._changed.notify_all()
        if isinstance(result, Prediction):
            self._on_done(result)
        ticket.finish(result)

    def _recover(self, error: Exception) -> None:
        """Compute the requests in progress again, one at a time, or fail those that failed alone."""
        lost = isinstance(error, DeviceError) and not isinstance(error, DeviceMemoryError)
        logger.error("the computation of %d requests failed", len(self._in_progress), exc_info=error)
        with self._changed:
            if lost:
                self._broken = error  # type: ignore[assignment]
                failed, self._in_progress = [*self._in_progress, *self._waiting], []
                exclusive, self._waiting, self._exclusive = list(self._exclusive), deque(), deque()
                for one in exclusive:
                    one.fail(error)
            else:
                failed = [one for one in self._in_progress if one.alone]
                again = [one for one in self._in_progress if not one.alone]
                for ticket in again:
                    ticket.alone = True
                self._waiting.extendleft(reversed(again))
                self._in_progress = []
        for ticket in failed:
            ticket.fail(error)
