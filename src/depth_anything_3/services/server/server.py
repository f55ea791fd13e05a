"""The state of a server: its engine, scheduler, limits and metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.options import BatchOptions, StreamOptions
from depth_anything_3.inputs.failure import raise_error
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.prediction import Prediction
from depth_anything_3.services.server.admission import Admission
from depth_anything_3.services.server.jobs import Jobs
from depth_anything_3.services.server.metrics import ServerMetrics
from depth_anything_3.services.server.problems import Problem
from depth_anything_3.services.server.scheduler import Scheduler
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["Server"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Server:
    """What the routes share. `start()` begins to load kernels; `close()` ends all threads.

    Args:
        engine: the network.
        settings: see `ServerSettings`.
    """

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.engine, self.settings = engine, settings
        self.metrics = ServerMetrics()
        self.admission = Admission(settings)
        self.scheduler = Scheduler(
            engine,
            BatchOptions(batch_size=settings.batch_limit),
            settings.batch_wait / 1e3,
            on_batch=self.metrics.batch,
            on_done=self._predicted,
        )
        self.jobs = Jobs(self.admission, settings)
        # Headers are read and results encoded here, not in the event loop.
        self._workers = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="da3-encode")
        self._warm = threading.Event()
        for name, help, value in (
            ("da3_requests_in_progress", "Accepted requests.", lambda: self.admission.requests),
            ("da3_requests_waiting", "Requests that are not computed yet.", lambda: self.scheduler.waiting),
            ("da3_held_pixels", "Pixels of the images of accepted requests.", lambda: self.admission.pixels),
            ("da3_held_bytes", "Bytes of bodies in memory.", lambda: self.admission.bytes),
            ("da3_jobs", "Scenes that wait or whose results are kept.", lambda: len(self.jobs)),
            ("da3_job_bytes", "Bytes of kept results of scenes.", lambda: self.jobs.bytes),
            ("da3_ready", "1 if requests are accepted.", lambda: float(self.why_not_ready() is None)),
        ):
            self.metrics.watch(name, help, value)

    def start(self) -> None:
        """Start the threads, and compute a first image, after which the server is ready."""
        threading.Thread(target=self._begin, name="da3-warm-up", daemon=True).start()

    def close(self) -> None:
        """End the threads."""
        self.scheduler.close()
        self.jobs.close()
        self._workers.shutdown(cancel_futures=True)

    def drain(self) -> None:
        """Accept no more requests; those accepted are finished."""
        self.admission.drain()

    def why_not_ready(self) -> str | None:
        """Say why requests are refused; None: they are accepted."""
        if self.admission.is_draining:
            return "draining"
        if self.scheduler.broken is not None:
            return "the device failed"
        return None if self._warm.is_set() else "starting"

    def check_ready(self) -> None:
        """Refuse a request before its body is read, if it would be refused after that.

        Raises:
            Problem: 429 or 503.
        """
        why = self.why_not_ready()
        if why is not None and not self.admission.is_draining:
            raise Problem(
                503, "not-ready", f"the server is not ready ({why}); try again soon", headers={"Retry-After": "2"}
            )
        self.admission.check()

    async def in_worker(self, work: Callable[[], Result]) -> Result:
        """Run work that would block the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def _begin(self) -> None:
        began = time.perf_counter()
        image = np.zeros((64, 64, 3), np.uint8)
        options = StreamOptions(preprocess=PreprocessOptions(process_res=56))
        try:
            self.engine.input_processor.warm_up()
            for _ in self.engine.stream([image], options, raise_error):
                pass
        except Exception as error:  # each request will say why
            logger.error("the first image failed", exc_info=error)
        self.scheduler.start()
        self._warm.set()
        logger.info("ready after %.1f s", time.perf_counter() - began)

    def _predicted(self, prediction: Prediction) -> None:
        self.admission.computed()
        self.metrics.predicted(prediction)
