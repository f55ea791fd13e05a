"""Verify an exported file with the libraries and providers of this machine."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.exported.reference import Reference
from depth_anything_3.exported.runtimes.installed import available_providers, installed_runtimes, open_providers
from depth_anything_3.exported.runtimes.runtime import GraphRuntime, RuntimeName
from depth_anything_3.exported.specification import GraphDtype, GraphMetadata
from depth_anything_3.exported.verification import NotRun, OnStep, Verification, first_line, verify_graphs
from depth_anything_3.exported.verification_inputs import VerificationImages

__all__ = ["verify_file"]


def verify_file(
    path: Path,
    metadata: GraphMetadata,
    reference: Reference,
    images: VerificationImages,
    on_step: OnStep,
    *,
    every_provider: bool = False,
) -> Verification:
    """Compare a file, in every installed library that runs it, with a reference.

    Args:
        path: the file.
        metadata: its description.
        reference: expected results.
        images: to compute on.
        on_step: called with a line before each step.
        every_provider: use everything that each library computes with here, not its default alone.

    Raises:
        UnsupportedError: no library that runs the file is installed.
        ImageReadError, ImageDecodeError, InvalidInputError: an image cannot be used.
    """
    not_run: list[NotRun] = []
    graphs: list[GraphRuntime] = []
    try:
        for runtime in installed_runtimes(path):
            on_step(f"opening {path.name} with {runtime.value}")
            providers = available_providers(runtime) if every_provider else (None,)
            opened, failures = open_providers(path, runtime, providers)
            graphs += opened
            for provider, error in failures:
                optional = isinstance(error, UnsupportedError) or _is_optional(runtime, metadata)
                not_run.append(NotRun(runtime.value, provider, first_line(error), is_failure=not optional))
        cases = verify_graphs(graphs, reference, images, on_step)
    finally:
        for graph in graphs:
            graph.close()
    return Verification(
        file=str(path), metadata=metadata, reference=reference.description, cases=cases, not_run=tuple(not_run)
    )


def _is_optional(runtime: RuntimeName, metadata: GraphMetadata) -> bool:
    """Whether a library need not run a file: ONNX Runtime has few operators in bfloat16."""
    return runtime is RuntimeName.ONNXRUNTIME and metadata.dtype is GraphDtype.BFLOAT16
