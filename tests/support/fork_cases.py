"""Uses of a processor around a fork. Run as a program, because a hang must not take the tests with it."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image

from depth_anything_3.errors import DeviceError, UnsupportedError
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor

_SECONDS = 30  # after which a child counts as hanging

_rng = np.random.default_rng(0)


def encoded(kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(_rng.integers(0, 255, (90, 120, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def files() -> list[bytes | Image.Image]:
    return [encoded("JPEG"), encoded("PNG"), Image.open(io.BytesIO(encoded("PNG"))), encoded("WEBP")]


def in_child(work: Callable[[], object]) -> None:
    """Run work in the child of a fork; raise if it fails or hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(_SECONDS)
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}"


def while_kernels_are_compiled() -> None:
    process, image = InputProcessor(), encoded()
    thread = threading.Thread(target=process, args=([image],))
    thread.start()
    while thread.is_alive():
        in_child(lambda: process([image], process_res=70))


def in_the_middle_of_another_call() -> None:
    process, images, ended = InputProcessor(), files(), threading.Event()

    def busy() -> None:
        while not ended.is_set():
            process(images, process_res=70)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        expected = process(images, process_res=70).tensor.numpy()
        for _ in range(5):
            in_child(lambda: np.testing.assert_array_equal(process(images, process_res=70).tensor.numpy(), expected))
    finally:
        ended.set()


def workers_of_a_data_loader() -> None:
    process, images = InputProcessor(), files() * 2

    class Images(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> torch.Tensor:
            return process([images[index]], process_res=70).tensor[0, 0]

    expected = [Images()[index] for index in range(len(images))]
    signal.alarm(_SECONDS)
    loader = torch.utils.data.DataLoader(Images(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    for _ in range(2):
        assert all(torch.equal(one, other) for one, other in zip(loader, expected, strict=True))
    signal.alarm(0)


def views_of_mixed_sizes() -> None:
    process = InputProcessor()
    views = [_rng.integers(0, 255, size, np.uint8) for size in ((400, 600, 3), (600, 400, 3))]
    torch.rand(1000, 1000).add(1)  # starts torch's threads
    for mixed in ("crop", "pad"):
        expected = process(views, mixed_sizes=mixed).tensor.numpy()

        def check(mixed: str = mixed, expected: np.ndarray = expected) -> None:
            np.testing.assert_array_equal(process(views, mixed_sizes=mixed).tensor.numpy(), expected)

        in_child(check)


def closing_in_the_child() -> None:
    process, image = InputProcessor(), encoded()
    process([image])

    def close() -> None:
        process.close()
        with process:
            process([image])

    in_child(close)
    process([image])


def an_iteration_that_began_before(begin: Callable[[], Iterator[object]]) -> None:
    iterator = begin()
    next(iterator)

    def resume() -> None:
        try:
            for _ in iterator:
                pass
        except UnsupportedError as error:
            assert "before a fork" in str(error)
        else:
            raise AssertionError("no error")

    in_child(resume)
    in_child(iterator.close)  # type: ignore[attr-defined]
    child = os.fork()
    if child == 0:
        signal.alarm(_SECONDS)
        raise SystemExit  # runs the handlers of atexit
    assert os.waitpid(child, 0)[1] == 0
    assert sum(1 for _ in iterator) == 29


def an_iteration_of_images() -> None:
    an_iteration_that_began_before(lambda: InputProcessor().iterate([encoded()] * 30))


def an_iteration_of_batches() -> None:
    an_iteration_that_began_before(lambda: InputProcessor().batches([encoded()] * 30))


def a_processor_for_cuda() -> None:
    image = encoded()
    process = GPUInputProcessor("cpu", capabilities=Capabilities("cuda", "stand-in", resamplers=("torch",)))
    process([image], process_res=70)
    process.device = torch.device("cuda")  # no GPU is touched

    def use() -> None:
        try:
            process([image])
        except DeviceError as error:
            assert "spawn" in str(error)
        else:
            raise AssertionError("no error")

    in_child(use)


CASES: tuple[Callable[[], None], ...] = (
    while_kernels_are_compiled,  # first, before anything is compiled
    in_the_middle_of_another_call,
    workers_of_a_data_loader,
    views_of_mixed_sizes,
    closing_in_the_child,
    an_iteration_of_images,
    an_iteration_of_batches,
    a_processor_for_cuda,
)


def main() -> None:
    """Write a line of JSON: the error of each case, or an empty text."""
    errors = {}
    for case in CASES:
        try:
            case()
        except Exception as error:
            errors[case.__name__] = repr(error)
        else:
            errors[case.__name__] = ""
    sys.stdout.write(json.dumps(errors))


if __name__ == "__main__":
    main()
