"""Read stored images ahead in threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

from depth_anything_3.errors import DA3Error
from depth_anything_3.jobs.sources.stored_image import StoredImage

__all__ = ["read_ahead"]

_THREADS = 16  # waiting for a store, not computing


def read_ahead(images: Iterable[StoredImage], threads: int = _THREADS) -> Generator[StoredImage, None, None]:
    """Yield the images in order, with the bytes, paths or errors in place of functions that read.

    At most `threads` images are read or held at once.
    """
    waiting: deque[tuple[StoredImage, Future[bytes] | None]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="da3-read")
    try:
        for image in chain(images, [None]):
            while waiting and (image is None or len(waiting) >= threads):
                yield _finished(*waiting.popleft())
            if image is not None:
                waiting.append((image, pool.submit(image.data) if callable(image.data) else None))
                while waiting and waiting[0][1] is None:  # bytes of a tar need not wait
                    yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(image: StoredImage, reading: Future[bytes] | None) -> StoredImage:
    if reading is None:
        return image
    try:
        return replace(image, data=reading.result())
    except DA3Error as error:
        return replace(image, data=error)
