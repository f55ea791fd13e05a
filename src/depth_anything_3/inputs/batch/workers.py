"""Run per-image work in pools of threads or processes that are reused between calls."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from functools import partial
from typing import NoReturn, TypeVar

from depth_anything_3.errors import ImageDecodeError
from depth_anything_3.inputs.batch.preparer import attempt
from depth_anything_3.inputs.choices import Executor
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.image_source import ImageInput, as_source
from depth_anything_3.inputs.resample.cpu import Share
from depth_anything_3.runtime.prefetch import ordered_map
from depth_anything_3.runtime.shared_work import run_parts, run_shared
from depth_anything_3.runtime.threads import usable_cores

__all__ = ["WorkerPools"]

_MAX_THREAD_POOLS = 4

Prepared = TypeVar("Prepared")


class WorkerPools:
    """Worker pools, one per kind and number of workers. `close()` ends them; the next call starts new ones.

    The child of a fork, such as a worker of torch's `DataLoader`, starts pools of its own.
    """

    def __init__(self) -> None:
        self._pools: dict[tuple[Executor, int], futures.Executor] = {}  # least recently used first
        self._process = os.getpid()
        self._inherited: list[futures.Executor] = []
        self._cores = usable_cores()  # asked once: it reads files

    def get(self, kind: Executor, count: int) -> futures.Executor:
        """Return a pool of `count` workers, at most one per core: more would compete, each with a full-size bitmap."""
        self._drop_inherited()
        key = kind, min(count, self._cores)
        pool = self._pools.pop(key, None) or _new_pool(*key)
        self._pools[key] = pool
        # Thread pools of other sizes are cached, because new threads allocate new memory. An evicted pool is not
        # closed, because a stream may still use it; its workers end with the last reference.
        same_kind = [one for one in self._pools if one[0] is kind]
        for other in same_kind[: -_MAX_THREAD_POOLS if kind is Executor.THREAD else -1]:
            self._pools.pop(other, None)
        return pool

    def last_used(self) -> futures.Executor:
        """Return the pool of the latest call."""
        self._drop_inherited()
        key = next(reversed(self._pools), (Executor.THREAD, 1))
        return self.get(*key)

    def map(
        self,
        work: Callable[[int, ImageInput], Prepared],
        images: Iterable[ImageInput],
        *,
        kind: Executor = Executor.THREAD,
        count: int = 1,
    ) -> Iterator[Prepared | ImageFailure]:
        """Apply `work(index, image)` to each image, a few images ahead, and yield the results in order.

        An unusable image yields an `ImageFailure`; so does one whose worker process is killed twice.
        """
        is_process = kind is Executor.PROCESS
        if is_process:  # memoryviews cannot be pickled
            images = (bytes(image) if isinstance(image, memoryview) else image for image in images)
        return ordered_map(
            self.get(kind, count),
            partial(attempt, work),
            images,
            ahead=2 * count,
            renew=partial(self._replace, kind, count) if is_process else None,
            lost=partial(attempt, _raise_killed),
        )

    def map_all(
        self,
        worker_of: Callable[[Share | None], Callable[[int, ImageInput], Prepared]],
        images: Sequence[ImageInput],
        *,
        count: int,
        until_failure: bool,
    ) -> list[Prepared | ImageFailure]:
        """Apply the work to each image, in this thread and in others, and return the results in order.

        Images of the last round that would leave threads idle, as a single one, are shared by several.

        Args:
            worker_of: returns `work(index, image)`, which may use the `Share`.
            images: all images.
            count: number of threads, at most one per core.
            until_failure: omit images that were not begun before an image failed.
        """
        threads = min(count, self._cores)
        pool = self.get(Executor.THREAD, threads)
        alone = len(images) % threads
        share = partial(run_parts, executor=pool, helpers=threads // alone - 1) if 0 < alone <= threads // 2 else None
        work, shared_work = worker_of(None), worker_of(share)
        results: list[Prepared | ImageFailure | None] = [None] * len(images)

        def one(index: int) -> bool:
            run = shared_work if index >= len(images) - alone else work
            result = results[index] = attempt(run, index, images[index])
            return not (until_failure and isinstance(result, ImageFailure))

        run_shared(one, len(images), pool, threads - 1)
        return [result for result in results if result is not None]

    def close(self) -> None:
        """End the workers. An iteration in progress raises `CancelledError`."""
        self._drop_inherited()
        while self._pools:
            self._pools.popitem()[1].shutdown(cancel_futures=True)

    def _drop_inherited(self) -> None:
        """In the child of a fork, forget the parent's pools: their threads do not exist here."""
        if self._process != os.getpid():
            self._process = os.getpid()
            # Kept, because collecting a pool takes locks that another thread may have held at the fork.
            self._inherited += self._pools.values()
            self._pools = {}

    def _replace(self, kind: Executor, count: int) -> futures.Executor:
        for key in [one for one in self._pools if one[0] is kind]:
            del self._pools[key]
        return self.get(kind, count)


def _new_pool(kind: Executor, count: int) -> futures.Executor:
    if kind is Executor.THREAD:
        return futures.ThreadPoolExecutor(count, thread_name_prefix="da3-prepare")
    # The filters of this process do not reach a worker, where Pillow's warnings would be printed without a file's name.
    quiet = partial(warnings.filterwarnings, "ignore", module=r"PIL\.")
    # Spawned, because forking a process with torch's threads can deadlock.
    return futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), quiet)


def _raise_killed(index: int, image: ImageInput) -> NoReturn:
    raise ImageDecodeError(
        f"{as_source(image, index).label}: the process that decodes it was killed twice (out of memory, or a decoder "
        "crash); remove the image from the list"
    )
