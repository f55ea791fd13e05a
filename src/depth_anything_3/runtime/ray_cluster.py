"""Connect to a Ray cluster, and run functions on its nodes and in pools of its processes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from depth_anything_3.errors import DA3Error, DeviceError, InvalidInputError, UnsupportedError
from depth_anything_3.runtime.pool import Workers

__all__ = ["Cluster", "Node", "connected"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Item = TypeVar("Item")

NO_PROGRESS_SECONDS = 600.0
"""After so long without a result the run ends with an error: Ray can wait for ever for a process that is lost."""

_MAX_INIT_DEATHS = 3
_NODE_SECONDS = 120.0


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        id: Ray's.
        name: host name or address.
        cpus, gpus: logical ones, as Ray counts them.
    """

    id: str
    name: str
    cpus: float
    gpus: float


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to a cluster for the block, or use the connection that there is.

    Args:
        address: "auto": the cluster that this machine belongs to; "local": a new one of this machine alone; or
            HOST:PORT.

    Raises:
        UnsupportedError: Ray is missing.
        InvalidInputError: there is no such cluster.
    """
    ray = _import_ray()
    if address.startswith("ray://"):
        logger.warning(
            "%s: with a Ray Client address, the run ends when this machine is disconnected; better start the command "
            "on the cluster, with ray job submit",
            address,
        )
    owned = not ray.is_initialized()
    if owned:
        # Lines of workers are Ray's business: what matters stands in their results.
        options = {} if address.startswith("ray://") else {"log_to_driver": False}
        if address == "local":
            options["include_dashboard"] = False
        try:
            ray.init(address=address, logging_level=logging.ERROR, configure_logging=False, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            first = str(error).strip().partition("\n")[0]
            raise InvalidInputError(
                f"cluster={address!r}: cannot be connected to ({first}). Start one with ray start --head, or pass "
                "'local' for this machine alone"
            ) from None
    try:
        yield Cluster(ray)
    finally:
        if owned:
            ray.shutdown()


class Cluster:
    """A cluster that this process is connected to, see `connected`; a `Pool`.

    Args:
        ray: the module.
    """

    def __init__(self, ray: Any) -> None:  # Any: Ray is optional
        self._ray = ray

    def describe(self, workers: Workers) -> str:
        """Say what computes, for reports."""
        each = f"{workers.gpus:g} GPU" if workers.gpus else f"{workers.cpus:g} CPU"
        return f"a cluster, {workers.least} to {workers.most} workers of {each}"

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive, by name."""
        found = []
        for one in self._ray.nodes():
            if one["Alive"]:
                has = one["Resources"]
                name = one.get("NodeManagerHostname") or one["NodeManagerAddress"]
                found.append(Node(one["NodeID"], name, has.get("CPU", 0.0), has.get("GPU", 0.0)))
        return sorted(found, key=lambda one: (one.name, one.id))

    def on_each_node(self, work: Callable[[], Result]) -> list[tuple[Node, Result | Exception]]:
        """Call a function once on each node; return its results or errors."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = self._ray.remote(num_cpus=0, max_retries=0)(_called)
        nodes = self.nodes()
        waiting = [
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one.id, soft=False)).remote(work)
            for one in nodes
        ]
        return [(node, self._outcome(one)) for node, one in zip(nodes, waiting, strict=True)]

    def call(self, work: Callable[[], Result], workers: Workers) -> Result:
        """Call a function in a process with the CPUs and GPUs of one of the workers.

        Raises:
            DA3Error: that of the function.
            DeviceError: the process cannot be started, or died.
        """
        remote = self._ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_retries=2)(_called)
        try:
            result: Result = self._ray.get(remote.remote(work))
        except self._ray.exceptions.RayError as error:
            raise _own_error(error) from None
        return result

    def shared(self, value: Result) -> Callable[[], Result]:
        """Put a value where all processes can read it, as long as this one lives; return what reads it there."""
        return _Shared(self._ray.put(value))

    def map(
        self, make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: Workers
    ) -> Iterator[Result]:
        """Call, for each item, what `make` returns in each process; yield the results as they come.

        Each process works on two items at once, in threads. An item whose process or node is lost is computed anew.

        Args:
            make: makes the callable, in each process; tried again after an OSError.
            items: pickled; they should be small.
            workers: the processes.

        Raises:
            DA3Error: that of an item or of `make`.
            DeviceError: the cluster failed, or came to a standstill.
        """
        import pyarrow as pa
        import ray.data
        from ray.data.exceptions import ExecutionTimeoutError, SystemException

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
        context.actor_init_retry_on_errors = [OSError]
        context.max_consecutive_actor_init_deaths = _MAX_INIT_DEATHS
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        # A table an item is a block an item: Ray neither splits nor joins them.
        tables = [pa.table({"item": pa.array([pickle.dumps(one)], pa.large_binary())}) for one in items]
        if not tables:
            return
        results = ray.data.from_arrow(tables).map_batches(
            _Caller,
            fn_constructor_kwargs={"make": make},
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            compute=ray.data.ActorPoolStrategy(
                min_size=workers.least,
                max_size=workers.most,
                max_tasks_in_flight_per_actor=2,
                max_concurrent_calls_per_actor=2,
                enable_true_multi_threading=True,
            ),
        )
        try:
            for row in results.iter_rows():
                yield pickle.loads(row["result"])  # noqa: S301 (of our own processes)
        except (self._ray.exceptions.RayError, ExecutionTimeoutError, SystemException, RuntimeError) as error:
            raise _own_error(error) from None

    def _outcome(self, waiting: Any) -> Any:  # Any: a reference, and what it refers to
        try:
            return self._ray.get(waiting, timeout=_NODE_SECONDS)
        except self._ray.exceptions.RayError as error:
            return _own_error(error)


def _called(work: Callable[[], Result]) -> Result:
    return work()


class _Shared:
    """Reads a shared value, once a process."""

    def __init__(self, reference: Any) -> None:  # Any: of Ray
        self._reference = reference

    def __call__(self) -> Any:
        import ray

        return ray.get(self._reference)


class _Caller:
    """Makes a callable in a process of a pool, and calls it for each item."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:  # Any: items and results of any type
        self._call = make()

    def __call__(self, batch: Any) -> Any:  # Any: tables of pyarrow
        import pyarrow as pa

        results = [self._call(pickle.loads(one)) for one in batch["item"].to_pylist()]  # noqa: S301 (as above)
        return pa.table({"result": pa.array([pickle.dumps(one) for one in results], pa.large_binary())})


def _import_ray() -> Any:  # Any: Ray is optional
    try:
        import ray
        import ray.data
    except ImportError:
        raise UnsupportedError("a cluster needs Ray: pip install '.[ray]', on each of its nodes") from None
    return ray


def _own_error(error: BaseException) -> DA3Error:
    """Return the error of ours that caused one of Ray's; else one that quotes it."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        inner = getattr(cause, "cause", None)
        # Ray raises a mixture of its class and ours, which cannot be told apart by a handler.
        if isinstance(cause, DA3Error) and not isinstance(inner, DA3Error):
            return cause
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    lines = [one.strip() for one in str(error).splitlines() if one.strip()]
    return DeviceError(f"the cluster failed: {type(error).__name__}: {lines[-1] if lines else 'without a word'}")
