"""A target for atheris, which follows the code that an input reaches: by hand, not with the tests.

    pip install atheris
    python tests/fuzz/atheris_target.py -runs=200000 -max_len=4096 -rss_limit_mb=4096 CORPUS_FOLDER

With `--seeds FOLDER` it only writes the small files that damage starts from, as a first corpus.
"""

from __future__ import annotations

import logging
import sys
import warnings
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.mutations import seeds


def main() -> None:
    if sys.argv[1:2] == ["--seeds"]:
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for place, data in enumerate(seeds()):
            (folder / f"{place:02}").write_bytes(data)
        return
    import atheris

    logging.disable()
    warnings.simplefilter("ignore")
    # Before: what numba compiles may not be instrumented.
    for module in ("resample.cpu_kernel", "decode.cpu.png", "decode.cpu.tiff_codecs"):
        import_module(f"depth_anything_3.inputs.{module}")
    with atheris.instrument_imports(include=["depth_anything_3", "PIL"]):
        from support.fuzz_target import Examiner
    examine = Examiner()

    def target(data: bytes) -> None:
        examine(data)

    atheris.Setup([*sys.argv, "-close_fd_mask=2"], target)  # what C libraries print says nothing here
    atheris.Fuzz()


if __name__ == "__main__":
    main()
