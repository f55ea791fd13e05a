"""Run the input processor of the package that this Python has; commands come as lines of JSON, see `fork.py`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is no answer
    import numpy as np

    from depth_anything_3.utils.io.input_processor import InputProcessor

    processor = InputProcessor()
    batches: dict[str, list[Any]] = {}  # Any: paths or arrays

    def run(name: str, workers: int) -> Any:  # Any: a tensor
        return processor(batches[name], num_workers=workers)[0]

    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        command, name, *values = json.loads(line)
        if command == "load":
            paths, workers, result = values
            batches[name] = [np.load(path) if path.endswith(".npy") else path for path in paths]
            tensor = run(name, workers).float().numpy()
            np.save(result, tensor.reshape(-1, *tensor.shape[-3:]))
        else:
            run(name, *values)
        print(json.dumps("done"), file=answers, flush=True)


if __name__ == "__main__":
    main()
