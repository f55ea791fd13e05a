"""Compute independent images on several devices of one machine: a process and a shard for each."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from depth_anything_3.errors import DeviceError, InvalidInputError
from depth_anything_3.export.naming import result_names
from depth_anything_3.inference.engine import Engine
from depth_anything_3.jobs.device_process import Ended, Loaded, Progress, Work, compute_shard
from depth_anything_3.jobs.image_job import ImageJob
from depth_anything_3.jobs.images import remove_temporary
from depth_anything_3.jobs.index import index_of_folder
from depth_anything_3.jobs.manifest import Manifest
from depth_anything_3.jobs.report import OnProgress, RunReport, no_progress, reported
from depth_anything_3.jobs.shard_reports import add_reports, add_written
from depth_anything_3.jobs.shards import Shard
from depth_anything_3.jobs.shared_range import check_shared_range, shared_formats
from depth_anything_3.jobs.temporary_files import MIN_AGE_S
from depth_anything_3.model.catalog import ModelCard
from depth_anything_3.runtime.child_processes import LogLine, core_shares, ctrl_c_ignored, exit_text

__all__ = ["parse_devices", "run_on_devices"]

logger = logging.getLogger(__name__)

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?|\d+")
_PACKAGE_LOG = "depth_anything_3"


def parse_devices(text: str) -> tuple[str, ...]:
    """Parse names of devices joined with commas: `0,1` or `cuda:0,cuda:1`; one that is named twice gets two processes.

    Raises:
        InvalidInputError: a name is unknown.
    """
    names = [one.strip().lower() for one in text.split(",")]
    unknown = [one for one in names if not _DEVICE.fullmatch(one)]
    if unknown:
        raise InvalidInputError(
            f"devices={text!r}: {unknown[0]!r} is unknown; join numbers or names of devices with commas, such as "
            "'0,1', 'cuda:0,cuda:1' or 'cpu,cpu'"
        )
    return tuple(f"cuda:{one}" if one.isdecimal() else one for one in names)


def run_on_devices(
    job: ImageJob,
    devices: Sequence[str],
    load: Callable[[str], Engine],
    *,
    on_progress: OnProgress = no_progress,
    on_loaded: Callable[[ModelCard], None] = lambda card: None,
) -> RunReport:
    """Compute depth of independent images on several devices, and write the results.

    Each device has a process, which computes a shard of the images on an equal share of the machine's cores. When a
    process is killed or its GPU fails, the others finish theirs. Any other error stops all. On Ctrl-C, and when this
    process is killed, the processes write what they have computed and end.

    Args:
        job: what to compute. The report of all devices is written at the beginning and at the end of the run.
        devices: names; see `parse_devices`.
        load: returns the network on a device; called in the processes, so it must be picklable.
        on_progress: called once for each image that was written, failed or skipped.
        on_loaded: called once, when the first process has loaded the network.

    Returns:
        The report of all devices. `wall_seconds` are those of the slowest device; they exclude loading the network.

    Raises:
        DeviceError: a process was killed, or its GPU failed; the message names the device and how much is left.
        DA3Error: see `run_images`.
    """
    check_shared_range(
        shared_formats(job.destination.parsed_formats, job.destination.options), resume=job.resume, is_split=True
    )
    destination, sources = job.destination, [str(one.path) for one in job.selected()]
    names = result_names(job.images, Manifest(destination.folder).name_of)
    name_of = dict(zip((str(one.path) for one in job.images), names, strict=True))
    planned = {name_of[one]: one for one in sources}
    if job.resume:
        remove_temporary(destination, planned, MIN_AGE_S if job.shard else 0.0)
    report = RunReport(export_dir=os.fspath(destination.folder), device=", ".join(devices), total=len(job.images))
    report.shard = None if job.shard is None else str(job.shard)
    reporting = reported(report, job.report_file, planned, early=True)
    with reporting, tempfile.TemporaryDirectory(prefix="da3-devices-") as folder:
        processes = _Processes(job, devices, load, Path(folder), on_progress, on_loaded)
        try:
            processes.compute()
        finally:
            add_reports(report, processes.reports(), sources)
        processes.check(report)
    if job.index and job.shard is None:
        index_of_folder(destination.folder)
    return report


@dataclass
class _Process:
    """The process of a device.

    Attributes:
        label: name of the device, with a number if several processes have it.
        ended: its last message; None: it runs, or was killed.
    """

    label: str
    work: Work
    process: multiprocessing.process.BaseProcess
    connection: Connection
    failed: int = 0
    ended: Ended | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong with the device, without which the others can finish; None: nothing."""
        error = None if self.ended is None else self.ended.error
        if isinstance(error, DeviceError):
            return str(error)
        if isinstance(error, KeyboardInterrupt):
            return f"its process was stopped ({error})"
        return None if self.ended is not None else f"its process was killed ({exit_text(self.process.exitcode)})"

    def send(self, message: object) -> None:
        """Send a message; that the process is gone is noticed when it is received from."""
        with suppress(OSError):
            self.connection.send(message)

    def report(self) -> RunReport:
        """Read the report of the shard; of a process that was killed, complete it by the manifest."""
        shard, folder = self.work.job.shard, self.work.job.destination.folder
        if not self.work.report_file.exists():
            return RunReport()
        report = RunReport.read(self.work.report_file)
        if not report.ended:
            add_written(report, Manifest(folder, shard=shard, others=False), folder)
        return report


@dataclass
class _Processes:
    """Starts the processes, and receives from them until all have ended."""

    job: ImageJob
    devices: Sequence[str]
    load: Callable[[str], Engine]
    folder: Path
    on_progress: OnProgress
    on_loaded: Callable[[ModelCard], None]
    _started: list[_Process] = field(default_factory=list)
    _is_loaded: bool = False
    _logged: set[LogLine] = field(default_factory=set)

    def compute(self) -> None:
        """Run all processes to their end, also when this one is stopped."""
        try:
            self._start()
            self._receive()
        except BaseException:
            self._stop()
            try:
                self._receive()
            except BaseException:  # a second Ctrl-C
                for one in self._started:
                    one.process.kill()
                raise
            raise
        finally:
            for one in self._started:
                one.process.join()
                one.connection.close()

    def check(self, report: RunReport) -> None:
        """Raise the error of a process that did not finish its shard.

        Raises:
            DeviceError: processes were killed or stopped, or GPUs failed.
            DA3Error: that of another process.
        """
        errors = [one.ended.error for one in self._started if one.ended is not None and one.fault is None]
        for error in filter(None, errors):
            raise error
        faults = [f"{one.label}: {one.fault}" for one in self._started if one.fault is not None]
        if faults:
            done = report.images + report.skipped
            raise DeviceError(
                f"{'; '.join(faults)}; {len(report.left)} of {len(report.left) + done + len(report.failures)} images "
                f"are left, the results of {done} are complete"
            )

    def reports(self) -> list[RunReport]:
        """Return the reports of the processes."""
        return [one.report() for one in self._started]

    def _start(self) -> None:
        shards = (self.job.shard or Shard(0, 1)).split(len(self.devices))
        context = multiprocessing.get_context("spawn")  # CUDA does not work after a fork
        for index, (device, shard, cores) in enumerate(
            zip(self.devices, shards, core_shares(len(self.devices)), strict=True)
        ):
            here, there = context.Pipe()
            process = context.Process(target=compute_shard, args=(there, cores), name=f"da3-{index}-{device}")
            work = Work(
                job=self.job.part(shard),
                load=self.load,
                device=device,
                report_file=self.folder / f"{index}.json",
                log_level=logging.getLogger(_PACKAGE_LOG).getEffectiveLevel(),
            )
            with ctrl_c_ignored():
                process.start()
            there.close()
            label = device if self.devices.count(device) == 1 else f"{device} (process {index})"
            self._started.append(_Process(label, work, process, here))
        for one in self._started:  # after all have been started, since a large message waits until it is read
            one.send(one.work)

    def _receive(self) -> None:
        while open_ones := {one.connection: one for one in self._started if not one.connection.closed}:
            for connection in wait(list(open_ones)):
                process = open_ones[connection]  # type: ignore[index]
                try:
                    self._take(process, process.connection.recv())
                except (EOFError, OSError):
                    process.connection.close()
                    process.process.join()
                    if process.ended is None:
                        logger.warning("%s: %s; the others continue", process.label, process.fault)

    def _take(self, process: _Process, message: object) -> None:
        if isinstance(message, Progress):
            process.failed = message.failed
            self.on_progress(sum(one.failed for one in self._started))
        elif isinstance(message, LogLine):
            if message not in self._logged or message.level < logging.WARNING:  # warn once, not once a process
                self._logged.add(message)
                logger.log(message.level, "%s: %s", process.label, message.text)
        elif isinstance(message, Loaded) and not self._is_loaded:
            self._is_loaded = True
            self.on_loaded(message.card)
        elif isinstance(message, Ended):
            process.ended = message
            if message.error is not None and process.fault is None:
                self._stop()

    def _stop(self) -> None:
        for one in self._started:
            if one.ended is None and not one.connection.closed:
                one.send("stop")
