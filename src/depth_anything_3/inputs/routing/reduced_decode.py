"""Choose the reduced scale (1/2, 1/4 or 1/8) at which a JPEG may be decoded."""

from __future__ import annotations

from depth_anything_3.inputs.choices import Fidelity
from depth_anything_3.inputs.header import ImageHeader
from depth_anything_3.inputs.plan.resize_plan import Interpolation, ResizePlan

__all__ = ["choose_reduction"]

# Minimum ratio of the reduced image's side to that side after the first resize, by factor. The rule is
# docs/preprocessing.md#reduced-jpeg-decode, made stricter where our test photos, sharper than a camera's, missed the
# bound. At `FAST`, 1/4 gave 43.8 dB at ratio 1.8, and 42.9 dB at 2.7 with 4:2:2, where chroma loses half its width
# because blocks shrink equally in both directions. At `HIGH`, 4:2:2 gave 49.2 dB with 1/2 at 3.0 and 46.1 dB with 1/4
# at 3.6.
_MIN_REDUCTION = {
    Fidelity.HIGH: {2: 2.5, 4: 3.5, 8: 3.5},
    Fidelity.FAST: {2: 1.6, 4: 1.85, 8: 2.5},
}
_MIN_REDUCTION_422 = {
    Fidelity.HIGH: {2: 3.5},
    Fidelity.FAST: {2: 1.6, 4: 3.5},
}
_FULL_CHROMA, _CHROMA_420, _CHROMA_422 = (1, 1), (2, 2), (2, 1)


def choose_reduction(header: ImageHeader, plan: ResizePlan, fidelity: Fidelity) -> int:
    """Return the largest of 8, 4 and 2 that reaches the fidelity on photos, or 1 to decode at full size.

    Images whose reduced sides are integer multiples of the result's may be reduced further, because no averaged cell
    is split between two results. At `HIGH`, this holds for 4:2:0 at 1/8 only: 1/2 and 1/4 measured 48 dB.
    """
    coding = header.jpeg
    if coding is None or fidelity is Fidelity.EXACT or not plan.steps or coding.components not in (1, 3):
        return 1
    step = plan.steps[0]
    if step.interpolation is not Interpolation.AREA or len(set(coding.sampling[1:])) > 1:
        return 1
    luma = coding.sampling[0]
    if coding.components == 3 and (
        coding.sampling[1] != (1, 1) or luma not in (_FULL_CHROMA, _CHROMA_420, _CHROMA_422)
    ):
        return 1
    half_width = coding.components == 3 and luma == _CHROMA_422
    minimum = (_MIN_REDUCTION_422 if half_width else _MIN_REDUCTION)[fidelity]
    for factor in sorted(minimum, reverse=True):
        if plan.reduction / factor >= minimum[factor]:
            return factor
        sides = zip(step.source_hw, step.result_hw, strict=True)
        aligned = not half_width and all(source % (factor * result) == 0 for source, result in sides)
        if aligned and (factor == 8 or fidelity is Fidelity.FAST or not coding.subsampled):
            return factor
    return 1
