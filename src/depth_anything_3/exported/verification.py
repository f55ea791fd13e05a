"""Compare an exported network with the results it must reproduce."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.exported.reference import Reference
from depth_anything_3.exported.runtimes.runtime import GraphRuntime
from depth_anything_3.exported.specification import GraphDtype, GraphMetadata, Output
from depth_anything_3.exported.verification_inputs import GraphInputs, VerificationImages

__all__ = [
    "MAX_ABS_REL",
    "MAX_MEAN_ERROR",
    "MAX_RELATIVE_ERROR",
    "NotRun",
    "Verification",
    "VerificationCase",
    "decided_pixels",
    "first_line",
    "verify_graphs",
]

MAX_RELATIVE_ERROR = 1e-4
"""Limit of float32 graphs: of the largest difference, divided by the largest expected value."""

MAX_ABS_REL = {GraphDtype.FLOAT32: 1e-4, GraphDtype.FLOAT16: 1e-3, GraphDtype.BFLOAT16: 1e-2}
"""Limit of the mean relative error of depth."""

MAX_MEAN_ERROR = {GraphDtype.FLOAT32: 1e-4, GraphDtype.FLOAT16: 5e-3, GraphDtype.BFLOAT16: 5e-2}
"""Limit of the mean error of other outputs, divided by the largest expected value."""

_OTHER_IMAGES_ABS_REL = 1e-2  # stored results are of images that a decoder here gives with differences of a level
_SKY_THRESHOLD = 0.3
_SKY_MARGIN = {GraphDtype.FLOAT32: 1e-3, GraphDtype.FLOAT16: 3e-2, GraphDtype.BFLOAT16: 1e-1}
_MAX_UNDECIDED = 0.1  # share of pixels

Array = npt.NDArray[Any]  # Any: floats
OnStep = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class VerificationCase:
    """How one output of one call agrees with the reference.

    Attributes:
        runtime, provider: what computed it.
        size_hw, batch, views: of the images.
        output: the output.
        max_error: largest difference, divided by the largest expected value; None if nothing was compared.
        mean_error: of depth: AbsRel, the mean of |difference| / expected; of others: the mean difference, divided by
            the largest expected value.
        not_finite: number of NaN and infinite values.
        limit: of `max_error` if `limits_max`, else of `mean_error`.
        limits_max: see above.
        problem: why the case fails; None: it passes.
    """

    runtime: str
    provider: str
    size_hw: tuple[int, int]
    batch: int
    views: int
    output: Output
    max_error: float | None = None
    mean_error: float | None = None
    not_finite: int = 0
    limit: float | None = None
    limits_max: bool = True
    problem: str | None = None

    def __str__(self) -> str:
        """Format as in a message."""
        height, width = self.size_hw
        place = f"{self.runtime} ({self.provider}), {height}x{width}, batch {self.batch}, {self.views} view(s)"
        return f"{place}, {self.output.value}: {self.problem or 'agrees'}"


@dataclass(frozen=True)
class NotRun:
    """A runtime that could not open the file.

    Attributes:
        runtime, provider: of the runtime.
        reason: its message.
        is_failure: whether it should have opened it; not if this machine lacks what it needs.
    """

    runtime: str
    provider: str
    reason: str
    is_failure: bool = True


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether an exported network is right.

    Attributes:
        file: its path.
        metadata: the description in the file.
        reference: what it was compared with; empty: it was not verified.
        cases: the comparisons.
        not_run: runtimes that could not open it.
    """

    file: str
    metadata: GraphMetadata
    reference: str = ""
    cases: tuple[VerificationCase, ...] = ()
    not_run: tuple[NotRun, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What failed, a line each."""
        if self.reference and not self.cases:
            return tuple(f"{one.runtime} ({one.provider}): {one.reason}" for one in self.not_run) or ("nothing ran it",)
        unopened = (f"{one.runtime} ({one.provider}): {one.reason}" for one in self.not_run if one.is_failure)
        return (*unopened, *(str(one) for one in self.cases if one.problem is not None))

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and something was compared if a reference was given."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return plain values for JSON."""
        return {
            "file": self.file,
            "model": self.metadata.model,
            "licence": self.metadata.licence,
            "dtype": self.metadata.dtype.value,
            "reference": self.reference or None,
            "ok": self.ok,
            "cases": [{**asdict(one), "output": one.output.value} for one in self.cases],
            "not_run": [asdict(one) for one in self.not_run],
        }


def decided_pixels(sky: Array | None, dtype: GraphDtype) -> npt.NDArray[np.bool_] | None:
    """Return where rounding cannot make ground of sky; None: compare everything.

    At other pixels the depth of a correct graph may be that of the sky, or of the ground.

    Args:
        sky: of the reference, before the threshold; None: the model has none.
        dtype: of the graph.
    """
    if sky is None:
        return None
    decided = np.abs(sky - _SKY_THRESHOLD) > _SKY_MARGIN[dtype]
    return decided if decided.mean() >= 1 - _MAX_UNDECIDED else None


def verify_graphs(
    graphs: Sequence[GraphRuntime], reference: Reference, images: VerificationImages, on_step: OnStep
) -> tuple[VerificationCase, ...]:
    """Compare every output of runtimes that opened the same file with a reference, at every shape of the reference.

    Args:
        graphs: the runtimes.
        reference: expected results, computed once a shape.
        images: to compute on.
        on_step: called with a line before each shape.

    Raises:
        ImageReadError, ImageDecodeError, InvalidInputError: an image cannot be used.
    """
    cases: list[VerificationCase] = []
    if not graphs:
        return ()
    for shape in reference.shapes(graphs[0].metadata):
        on_step(f"verifying {shape}")
        inputs = images.inputs(shape)
        expected = reference.outputs(inputs)
        for graph in graphs:
            cases += _Comparison(graph, reference, inputs, expected).cases()
    return tuple(cases)


class _Comparison:
    """Comparison of one call of a graph.

    Args:
        graph: the graph.
        reference: what it is compared with.
        inputs: the images.
        expected: results of the reference.
    """

    def __init__(
        self, graph: GraphRuntime, reference: Reference, inputs: GraphInputs, expected: Mapping[Output, Array]
    ) -> None:
        self._graph, self._reference, self._inputs, self._expected = graph, reference, inputs, expected
        self._dtype = graph.metadata.dtype
        self._decided = decided_pixels(expected.get(Output.SKY), self._dtype)

    def cases(self) -> list[VerificationCase]:
        """Run the graph and compare each output that the reference has."""
        wanted = [one for one in self._graph.metadata.outputs if one in self._expected]
        if not wanted:
            return [self._case(one, problem="the reference has no such output") for one in self._graph.metadata.outputs]
        try:
            found = self._graph.run(self._inputs.for_graph(self._graph.metadata))
        except Exception as error:  # whatever a provider raises is what its user has to know
            return [self._case(one, problem=f"{type(error).__name__}: {first_line(error)}") for one in wanted]
        return [self._compared(one, found) for one in wanted]

    def _compared(self, output: Output, found: Mapping[str, Array]) -> VerificationCase:
        if output.value not in found:
            return self._case(output, problem=f"missing; the graph returned {', '.join(found)}")
        value = np.asarray(found[output.value], np.float32)
        if not self._graph.metadata.has_views_axis and value.ndim > 0:
            value = value[:, None]
        expected = self._expected[output]
        shape = self._expected_shape(output)
        if value.shape != shape:
            return self._case(output, problem=f"shape {value.shape}, with an axis of views, instead of {shape}")
        not_finite = int(np.count_nonzero(~np.isfinite(value)))
        if not_finite:
            wrong = f"{not_finite} of {value.size} values are NaN or infinite"
            return self._case(output, not_finite=not_finite, problem=wrong)
        mask = self._decided if output is Output.DEPTH else None
        max_error, mean_error = _errors(output, self._reference.comparable(output, value), expected, mask)
        limit, limits_max = self._limit(output)
        error = max_error if limits_max else mean_error
        name = "largest relative error" if limits_max else "AbsRel" if output is Output.DEPTH else "mean relative error"
        problem = None if error <= limit else f"{name} {error:.1e}, limit {limit:.0e}"
        return self._case(output, max_error, mean_error, limit=limit, limits_max=limits_max, problem=problem)

    def _expected_shape(self, output: Output) -> tuple[int, ...]:
        if self._reference.is_complete:
            return tuple(self._expected[output].shape)
        shape = self._inputs.shape  # of depth, the only output that is stored
        return (shape.batch, shape.views, *shape.size_hw)

    def _limit(self, output: Output) -> tuple[float, bool]:
        """Return a limit, and whether it is that of the largest error."""
        if not self._reference.is_complete:
            same = self._reference.is_of(self._inputs)
            return (MAX_ABS_REL[self._dtype] if same else _OTHER_IMAGES_ABS_REL), False
        if self._dtype is GraphDtype.FLOAT32:
            return MAX_RELATIVE_ERROR, True
        return (MAX_ABS_REL if output is Output.DEPTH else MAX_MEAN_ERROR)[self._dtype], False

    def _case(
        self,
        output: Output,
        max_error: float | None = None,
        mean_error: float | None = None,
        *,
        not_finite: int = 0,
        limit: float | None = None,
        limits_max: bool = True,
        problem: str | None = None,
    ) -> VerificationCase:
        shape = self._inputs.shape
        return VerificationCase(
            runtime=self._graph.name.value,
            provider=self._graph.provider,
            size_hw=shape.size_hw,
            batch=shape.batch,
            views=shape.views,
            output=output,
            max_error=max_error,
            mean_error=mean_error,
            not_finite=not_finite,
            limit=limit,
            limits_max=limits_max,
            problem=problem,
        )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message that is not empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _errors(output: Output, value: Array, expected: Array, mask: npt.NDArray[np.bool_] | None) -> tuple[float, float]:
    """Return the largest and the mean error; see `VerificationCase`."""
    value, expected = value.astype(np.float64), expected.astype(np.float64)
    if mask is not None:
        value, expected = value[mask], expected[mask]
    difference = np.abs(value - expected)
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    if output is Output.DEPTH:
        mean = float(np.mean(difference / np.maximum(np.abs(expected), np.finfo(np.float32).tiny)))
    else:
        mean = float(np.mean(difference)) / scale
    return float(difference.max(initial=0.0)) / scale, mean
