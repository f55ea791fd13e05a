"""Compare each GPU decoder with libjpeg at full size, and with `InputProcessor` after resampling."""

from __future__ import annotations

from collections import Counter

from depth_anything_3.diagnostics.self_check import EXACT_DECODER_DB, EXACT_DECODER_LEVELS
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.choices import Fidelity, ProcessResMethod, ResamplerName, Strategy
from depth_anything_3.inputs.decode.cpu.decode import decode
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.resample.gpu import available_resamplers
from depth_anything_3.inputs.routing.strategy import ImageTraits, Request, choose_strategy
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from gpu_checks.outcome import Report
from gpu_checks.samples import Result, broken_files, compare, mixed_files, results_by_method, results_of
from harness.fidelity import Difference, difference, worst
from harness.images import encode
from harness.method import Setting, declared_fidelity, find_cuda_decoders

__all__ = ["run"]

_MIN_DB = {Fidelity.EXACT: EXACT_DECODER_DB, Fidelity.HIGH: 50.0, Fidelity.FAST: 44.0}
"""What the fidelities promise of a GPU decoder."""

_TRIANGLE_DB = 50.0
"""Nearest chroma is 45 to 49 dB away from libjpeg at full size, another rounding of the same filter above 55."""


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Check each installed decoder; report why the others are not available."""
    files = mixed_files(quick)
    with InputProcessor() as cpu:
        truths = results_by_method(cpu, files.values(), setting.workers)
        broken = [one.error for one in results_of(cpu, broken_files().values())]
    decoders = find_cuda_decoders(setting.device)
    for name, why in decoders.missing.items():
        report.skipped(name, why)
    for name, traits in decoders.installed.items():
        with report.guard(f"{name} at full size"):
            _full_size(report, setting, traits, quick)
        for resampler in available_resamplers(setting.device):
            with report.guard(f"gpu_decode, {name}, {resampler}"):
                _resampled(report, setting, traits, resampler, files, truths)
        with report.guard(f"broken files, {name}"):
            _broken(report, setting, traits, broken)


def _full_size(report: Report, setting: Setting, traits: DecoderTraits, quick: bool) -> None:
    """Decoded pixels themselves, for each chroma sampling; whether chroma is interpolated follows from them."""
    images = [photo(645, 485, 6)] if quick else [photo(645, 485, 6), photo(1920, 1080, 7)]
    kinds = ("4:4:4", "4:2:2", "4:2:0")
    files = {f"{kind} {one.shape[1]}": encode(one, subsampling=kind) for kind in kinds for one in images}
    files |= {f"grey {one.shape[1]}": encode(one, mode="L") for one in images}
    headers = [probe(file, name) for name, file in files.items()]
    decoder = open_decoder(traits.name, setting.device)
    try:
        decoded = decoder.decode(list(files.values()), headers, [None] * len(files))
        found: dict[str, Difference] = {}
        for (name, file), header, pixels in zip(files.items(), headers, decoded, strict=True):
            if isinstance(pixels, str):
                report.check(f"{traits.name} at full size, {name}", False, pixels)
            else:
                found[name] = difference(pixels.cpu().numpy(), decode(file, header, name).pixels)
    finally:
        decoder.close()
    subsampled = [one for name, one in found.items() if name.startswith(("4:2:2", "4:2:0"))]
    for kind in (*kinds, "grey"):
        of_kind = [one for name, one in found.items() if name.startswith(kind)]
        if of_kind:
            report.measured(f"{traits.name} at full size, {kind}", f"from libjpeg: {worst(of_kind)}")
    triangle = bool(subsampled) and worst(subsampled).psnr_db >= _TRIANGLE_DB
    text = f"chroma {'interpolated' if triangle else 'repeated'}, declared {'exact' if traits.exact else 'not exact'}"
    # Better than declared does no harm.
    report.check(f"{traits.name} {traits.version} is what it says", triangle or not traits.exact, text)


def _resampled(
    report: Report,
    setting: Setting,
    traits: DecoderTraits,
    resampler: ResamplerName,
    files: dict[str, bytes],
    truths: dict[ProcessResMethod, list[Result]],
) -> None:
    capabilities = setting.only(traits).capabilities
    fidelities = (Fidelity.EXACT,) if traits.exact else (Fidelity.HIGH, Fidelity.FAST)
    with GPUInputProcessor(setting.device, resampler=resampler, capabilities=capabilities) as processor:
        for fidelity in fidelities:
            found: dict[str, Difference] = {}
            elsewhere, on_gpu = [], 0
            for method in ProcessResMethod:
                results = results_of(
                    processor,
                    files.values(),
                    method=method,
                    strategy=Strategy.GPU_DECODE,
                    fidelity=fidelity,
                    workers=setting.workers,
                )
                for (name, file), result, one in zip(
                    files.items(), results, compare(results, truths[method]), strict=True
                ):
                    assert result.choice is not None
                    found[f"{name}, {method.value}"] = one
                    on_gpu += result.choice.strategy is Strategy.GPU_DECODE
                    header = probe(file, name)
                    plan = plan_resize(header.stored_hw, 504, method, exif_orientation=header.exif_orientation)
                    image = ImageTraits(header, reduction=plan.reduction)
                    request = Request(Strategy.GPU_DECODE, fidelity)
                    if choose_strategy(capabilities, image, request).strategy is not result.choice.strategy:
                        elsewhere.append(f"{name}, {method.value}: {result.choice.reason}")
            total = worst(list(found.values()))
            good = total.psnr_db >= _MIN_DB[fidelity]
            if fidelity is Fidelity.EXACT:
                good &= total.levels <= EXACT_DECODER_LEVELS
            what = f"gpu_decode, {traits.name}, {resampler}, {fidelity.value}"
            data = {key: str(one) for key, one in found.items() if one.levels > 1}
            text = f"{on_gpu} of {len(found)} on the GPU: {total}"
            text += f"; worst: {min(found.items(), key=lambda one: one[1].psnr_db)[0]}"
            report.check(what, good, text, files=data)
            counted = Counter(one.partition(": ")[2] for one in elsewhere)
            report.check(
                f"{what}: nothing fell back", not elsewhere, str(dict(counted) or "as chosen"), files=elsewhere
            )


def _broken(report: Report, setting: Setting, traits: DecoderTraits, truths: list[str | None]) -> None:
    """Check that errors are those of the CPU, also when a broken file shares its batch with intact ones."""
    capabilities, fidelity = setting.only(traits).capabilities, declared_fidelity(traits)
    whole = encode(photo(640, 480, 8))
    broken = broken_files()
    inputs = [file for one in broken.values() for file in (one, whole)]
    with GPUInputProcessor(setting.device, capabilities=capabilities) as processor:
        results = results_of(processor, inputs, strategy=Strategy.GPU_DECODE, fidelity=fidelity)
    errors, others = [one.error for one in results[::2]], [one.error for one in results[1::2]]
    wrong = {name: [a, b] for name, a, b in zip(broken, errors, truths, strict=True) if _plain(a) != _plain(b)}
    text = f"{len(errors) - len(wrong)} of {len(errors)} errors as on the CPU, {others.count(None)} whole files through"
    report.check(f"broken files, {traits.name}", not wrong and not any(others), text, wrong=wrong)


def _plain(error: str | None) -> str | None:
    """Without the place in the list, which differs here."""
    return None if error is None else "".join(one for one in error if not one.isdigit())
