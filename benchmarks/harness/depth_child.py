"""Compute the depth of files with the package that this Python has; see `depth_process.py`.

The only argument is a JSON object: checkpoint, device, process_res, batch_size, backend, dtype. A backend of null is
awesome-depth-anything-3, of which only the published methods are called. Commands come as lines of JSON:
`["run", paths, folder, result]` computes the files in order and answers with the number of results. Of `folder` and
`result` at most one is a path, the others are null: a folder gets a 16-bit PNG for each file; a .npy file gets the
depths (N, H, W). `["peak"]` answers with the peak memory in MB: of the process, and on the GPU.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Compute = Callable[[Sequence[str], str | None], list[Any]]  # Any: depth maps of numpy, one a file; none with a folder


def load(options: dict[str, Any]) -> Compute:  # Any: plain JSON values
    """Load the model; return what computes files."""
    return load_fork(options) if options["backend"] is None else load_ours(options)


def load_ours(options: dict[str, Any]) -> Compute:
    """Load with a backend and dtype; write files as `da3 images` does."""
    from depth_anything_3.api import DepthAnything3
    from depth_anything_3.inference.options import BatchOptions, StreamOptions
    from depth_anything_3.inputs.options import PreprocessOptions
    from depth_anything_3.jobs.destination import Destination
    from depth_anything_3.jobs.images import run_images

    model = DepthAnything3.from_pretrained(
        options["checkpoint"], options["device"], options["dtype"], backend=options["backend"]
    )
    streaming = StreamOptions(
        preprocess=PreprocessOptions(process_res=options["process_res"]),
        batching=BatchOptions(batch_size=options["batch_size"]),
    )

    def compute(paths: Sequence[str], folder: str | None) -> list[Any]:
        if folder is None:
            chosen = {"process_res": options["process_res"], "batch_size": options["batch_size"]}
            return [one.depth[0] for one in model.stream(paths, **chosen)]
        destination = Destination(folder=Path(folder), formats="depth_png")
        run_images(model.engine, list(map(Path, paths)), destination, streaming)
        return []

    return compute


def load_fork(options: dict[str, Any]) -> Compute:
    """Load the fork; write its depth as a user would, because it has no such format."""
    import cv2
    import numpy as np

    from depth_anything_3.api import DepthAnything3

    model = DepthAnything3.from_pretrained(options["checkpoint"])
    if options["device"] != "auto":
        model = model.to(options["device"])
    more = {} if options["process_res"] is None else {"process_res": options["process_res"]}

    def compute(paths: Sequence[str], folder: str | None) -> list[Any]:
        found = model.batch_inference(images=list(paths), batch_size=options["batch_size"], **more)
        depths = [np.asarray(view) for prediction in found for view in prediction.depth]
        if folder is None:
            return depths
        Path(folder).mkdir(parents=True)
        for path, depth in zip(paths, depths, strict=True):
            levels = np.rint(depth * (65535 / depth.max())).astype(np.uint16)
            cv2.imwrite(str(Path(folder, Path(path).name).with_suffix(".png")), levels)
        return []

    return compute


def answer(compute: Compute, message: list[Any]) -> Any:
    """Obey one command; return the answer."""
    if message[0] == "peak":
        return peak_mb()
    _, paths, folder, result = message
    depths = compute(paths, folder)
    if result is not None:
        import numpy as np

        np.save(result, np.stack(depths))
    return len(depths) if folder is None else len(list(Path(folder).rglob("*.png")))


def peak_mb() -> list[float]:
    """Return the peak resident memory of this process, and that of torch on the GPU (0 without one), in MB.

    `ru_maxrss`, for systems without /proc, is wrong on Linux: there it contains the peak of the parent process.
    """
    import torch

    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    except (OSError, StopIteration):
        import resource

        unit = 1e6 if sys.platform == "darwin" else 1e3
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return [resident, torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is no answer
    compute = load(json.loads(sys.argv[1]))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(compute, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
