"""What one image need not import when its kernels were compiled before."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from depth_anything_3.inputs.batch.preparer import ImagePreparer

PROGRAM = """
import sys
import numpy as np
from depth_anything_3.api import DepthAnything3
prediction = DepthAnything3.from_pretrained("da3-nano").depth(np.zeros((60, 80, 3), np.uint8))
print(prediction.depth.shape, [name for name in ("huggingface_hub", "numba.np.linalg") if name in sys.modules])
"""


def test_a_cached_kernel_and_a_bundled_model_import_neither_compiler_nor_hub():
    ImagePreparer()(0, np.zeros((60, 80, 3), np.uint8))  # fills the cache of machine code
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split("[", 1)[1].strip() == "]", done.stdout
