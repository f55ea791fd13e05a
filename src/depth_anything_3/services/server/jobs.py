"""Jobs: work that a client starts with one request and asks about with others."""

from __future__ import annotations

import logging
import math
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from depth_anything_3.runtime.option_values import StringEnum
from depth_anything_3.services.server.admission import Admission
from depth_anything_3.services.server.problems import Problem, busy, problem_of
from depth_anything_3.services.server.settings import ServerSettings

__all__ = ["Job", "JobStatus", "Jobs"]

logger = logging.getLogger(__name__)

_MAX_END = 5.0  # seconds to wait for the work in progress at the end


class JobStatus(StringEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether it does not change any more."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(eq=False)
class Job:
    """A job and its results.

    Attributes:
        work: makes the results, in the thread of the jobs.
        pixels: of its images, for the limits of accepted requests.
        release: called once the images are no longer needed.
        kind: the routes that show it.
        id: cannot be guessed.
        error: why it failed.
        folder: of its results, once it has any.
        results: by the name of the format, paths in the folder.
        created, began, ended: seconds since the epoch; None: not yet.
        expires: time of `time.monotonic` when it is forgotten; None: it has not ended.
        bytes: of its results.
    """

    work: Callable[[Job], object]
    pixels: int
    release: Callable[[], object] = lambda: None
    kind: str = "scene"
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: JobStatus = JobStatus.QUEUED
    error: Problem | None = None
    folder: Path | None = None
    results: dict[str, list[str]] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    began: float | None = None
    ended: float | None = None
    expires: float | None = None
    bytes: int = 0

    def file(self, name: str) -> Path | None:
        """Find a result by its path in the folder; None if there is none of this name."""
        known = any(name in names for names in self.results.values())
        return self.folder / name if known and self.folder is not None else None


class Jobs:
    """Does jobs one at a time in a thread of its own, and keeps their results for a while.

    Results are in a private temporary folder, which `close` removes.

    Args:
        admission: a job counts as an accepted request until it has ended.
        settings: limits.
    """

    def __init__(self, admission: Admission, settings: ServerSettings) -> None:
        self._admission, self._settings = admission, settings
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}  # in the order of their creation
        self._root: Path | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def bytes(self) -> int:
        """Bytes of kept results."""
        return sum(job.bytes for job in list(self._jobs.values()))

    def check(self) -> None:
        """Refuse a job for which there is no room.

        Raises:
            Problem: 429.
        """
        self._forget_old()
        with self._changed:
            if len(self._jobs) >= self._settings.max_jobs:
                raise self._busy(f"{len(self._jobs)} scenes wait or are kept; delete those that you have read")
        if self.bytes >= self._settings.max_job_bytes:
            raise self._busy("the results that are kept fill the storage; delete those that you have read")

    def add(self, job: Job) -> Job:
        """Queue a job.

        Raises:
            Problem: 429 or 503.
        """
        self.check()
        self._admission.enter(job.pixels)
        with self._changed:
            self._jobs[job.id] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="da3-jobs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def find(self, id: str, kind: str = "scene") -> Job:
        """Find a job.

        Raises:
            Problem: 404.
        """
        self._forget_old()
        job = self._jobs.get(id)
        if job is None or job.kind != kind:
            detail = f"no job {id[:60]!r}; results are kept for {self._settings.job_lifetime:g} s after their end"
            raise Problem(404, "no-job", detail)
        return job

    def all(self, kind: str) -> list[Job]:
        """List the jobs of a kind, the oldest first."""
        self._forget_old()
        return [job for job in list(self._jobs.values()) if job.kind == kind]

    def delete(self, job: Job) -> None:
        """Cancel a job that has not ended, or forget one that has.

        What the network computes is finished and dropped.
        """
        with self._changed:
            if job.status.is_end:
                self._jobs.pop(job.id, None)
                self._remove_files(job)
                return
            waits = job.status is JobStatus.QUEUED
            self._end(job, JobStatus.CANCELLED)
        if waits:  # else the thread does it, which still uses the images
            self._leave(job)

    def make_folder(self, job: Job) -> Path:
        """Make the folder of a job's results."""
        with self._changed:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="da3-jobs-"))  # only this user may read it
            folder = self._root / job.id
            folder.mkdir(mode=0o700)
            job.folder = folder
        return folder

    def close(self) -> None:
        """Forget all jobs and remove the folder."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_MAX_END)
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    def _run(self) -> None:
        while True:
            self._forget_old()
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None, self._seconds_to_wait())
                job = self._next()
                if self._closed:
                    return
                if job is None:
                    continue
                job.status, job.began = JobStatus.RUNNING, time.time()
            self._do(job)

    def _do(self, job: Job) -> None:
        error: Exception | None = None
        try:
            job.work(job)
        except Exception as caught:  # anything: a bug must not end the thread
            error = caught
            if problem_of(error).status >= 500 and not isinstance(error, Problem):
                logger.error("a job failed", exc_info=error)
        with self._changed:
            if job.status is JobStatus.CANCELLED:
                self._remove_files(job)
            elif error is not None:
                job.error = problem_of(error)
                self._end(job, JobStatus.FAILED)
                self._remove_files(job)
            else:
                if job.folder is not None:
                    job.bytes = sum(one.stat().st_size for one in job.folder.rglob("*") if one.is_file())
                self._end(job, JobStatus.DONE)
        self._leave(job)

    def _end(self, job: Job, status: JobStatus) -> None:
        job.status, job.ended = status, time.time()
        job.expires = time.monotonic() + self._settings.job_lifetime

    def _leave(self, job: Job) -> None:
        job.release()
        job.work, job.release = _nothing, _nothing  # they hold the images
        self._admission.leave(job.pixels)

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.status is JobStatus.QUEUED), None)

    def _seconds_to_wait(self) -> float | None:
        ends = [job.expires for job in self._jobs.values() if job.expires is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _forget_old(self) -> None:
        now = time.monotonic()
        with self._changed:
            for job in list(self._jobs.values()):
                if job.expires is not None and job.expires <= now:
                    del self._jobs[job.id]
                    self._remove_files(job)

    @staticmethod
    def _remove_files(job: Job) -> None:
        if job.folder is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.folder, job.bytes = None, 0
        job.results.clear()

    def _busy(self, reason: str) -> Problem:
        seconds = self._seconds_to_wait()
        return busy(max(1, math.ceil(min(seconds if seconds is not None else 5.0, 120.0))), reason)


def _nothing(*_: object) -> None:
    pass
