"""The Triton kernels compiled for GPUs of several architectures: nothing spills, and pixels load in words."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest

POINTERS = {
    "sources": "*i64", "slots": "*i64", "first": "*i32", "count": "*i32", "weights": "*fp32", "middle": "*u16",
    "pixels": "*u8",
}  # fmt: skip


def compiled(kernel, capability: int, dtype: str, constants: dict[str, object], options: dict[str, object]):
    """A kernel compiled as a launch with aligned tensors and unspecialised integers would."""
    compiler = importlib.import_module("triton.compiler")
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", capability, 32)
    types = {**POINTERS, "levels": f"*{dtype}", "normalized": f"*{dtype}"}
    names = kernel.arg_names
    source = compiler.ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in types},
    )
    return compiler.compile(source, target=target, options=options)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the disassembler says of a kernel: the resources it takes, and its instructions."""
    triton = pytest.importorskip("triton")
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.is_file():
        pytest.skip("this Triton brings no disassembler")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))

    def read(kernel) -> tuple[str, str]:
        binary = tmp_path / "kernel.cubin"
        binary.write_bytes(kernel.asm["cubin"])
        outputs = [
            subprocess.run([tool, option, binary], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        ]
        return outputs[0], outputs[1]

    return read


def check_registers(usage: str, most: int) -> None:
    assert "STACK:0 " in usage
    assert "LOCAL:0 " in usage
    assert int(re.search(r"REG:(\d+)", usage)[1]) <= most


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize(("align", "load"), [(16, "LDG.E.128"), (4, "LDG.E"), (1, "LDG.E.U8")])
def test_blending_rows_loads_as_wide_as_the_alignment_allows(report, capability, step, align, load):
    module = importlib.import_module("depth_anything_3.inputs.resample.triton_resampler")
    constants = {**module.ROWS_CONSTANTS, "STEP": step, "ALIGN": align, "ASSEMBLY": True}
    kernel = compiled(module.blend_rows, capability, "fp32", constants, module.ROWS_OPTIONS[align])
    usage, instructions = report(kernel)
    check_registers(usage, 128)
    assert re.search(rf"\b{re.escape(load)} ", instructions)
    assert instructions.count("PRMT") >= 16
    assert instructions.count("I2F") < 8  # a division of integers takes one; samples take none


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", None])
def test_blending_columns_and_normalising_stay_in_registers(report, capability, dtype):
    module = importlib.import_module("depth_anything_3.inputs.resample.triton_resampler")
    constants = {**module.COLUMNS_CONSTANTS, "NORMALIZE": dtype is not None}
    kernel = compiled(module.blend_columns, capability, dtype or "u8", constants, module.COLUMNS_OPTIONS)
    check_registers(report(kernel)[0], 96)
    if dtype:
        kernel = compiled(module.normalize_levels, capability, dtype, {"BLOCK": 1024}, module.COLUMNS_OPTIONS)
        check_registers(report(kernel)[0], 64)
