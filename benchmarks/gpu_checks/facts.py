"""Report the machine, and the capabilities and choices of the input pipeline on it."""

from __future__ import annotations

import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inputs.decode.gpu.jpeg_engine import nvjpeg_version
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.routing.strategy import ImageTraits, Request, choose_strategy
from gpu_checks.outcome import Report
from harness.images import encode
from harness.machine import describe_machine
from harness.method import Setting, find_cuda_decoders

__all__ = ["run"]


def run(report: Report, setting: Setting, quick: bool) -> None:
    """Facts, then the choices that follow from them."""
    for key, value in describe_machine(setting.device).items():
        report.measured(key, value)
    found = setting.capabilities
    has_cuda = setting.device.type == "cuda"
    text = f"{found.device_type}; resamplers {', '.join(found.resamplers)}; {found.jpeg_engines} JPEG engines"
    report.measured("capabilities", f"{text}; costs {'known' if found.costs else 'not measured'}", cuda=has_cuda)
    if found.missing_engine is not None:
        report.measured("no JPEG engine", f"{found.missing_engine.cause}; {found.missing_engine.hint}")
    version = nvjpeg_version()
    report.measured("nvJPEG", "not found" if version is None else ".".join(map(str, version)))
    decoders = find_cuda_decoders(setting.device)
    for name, why in decoders.missing.items():
        report.skipped(f"decoder {name}", why)
    for name, traits in decoders.installed.items():
        if not setting.has_gpu:
            report.skipped(f"decoder {name}", "no CUDA device")
            continue
        with report.guard(f"decoder {name}"):
            open_decoder(name, setting.device).close()
            report.check(f"decoder {name}", True, f"{traits.version} runs")
    if has_cuda:
        cache = getattr(torch.cuda.get_device_properties(setting.device), "L2_cache_size", 0)
        report.measured("cache", f"{cache / 2**20:.0f} MiB of L2")
    file = encode(photo(640, 480, 0))
    header = probe(file, "image")
    image = ImageTraits(header, reduction=plan_resize(header.stored_hw).reduction)
    for what, traits_of in (("a JPEG", image), ("pixels in memory", ImageTraits())):
        choice = choose_strategy(found, traits_of, Request(batch_size=4, workers=setting.workers))
        report.measured(f"choice for {what}", f"{choice.strategy.value}: {choice.reason}")
