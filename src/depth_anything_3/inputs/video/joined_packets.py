"""Read packets with timestamps that continue where a stream's clock jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

__all__ = ["joined_packets", "packets_from"]

_BACKWARD_JUMP, _FORWARD_JUMP = 0.1, 10.0  # seconds, as in the ffmpeg command
_PACKETS_TO_JOINT = 2  # from the mark; FFmpeg's parsers look one packet ahead
_MAX_HELD = 2000  # packets between two keyframes
_DEFAULT_RATE = 25


def joined_packets(packets: Iterable[Any], rate: Fraction | None) -> Iterator[Any]:  # Any: PyAV is optional
    """Yield the packets of one stream; where its clock jumps, as in joined transport streams, shift the later ones.

    At a joint the demuxer marks one of the last packets as corrupt, because the counters of the next file begin anew.
    If a keyframe follows at once, without a gap or with a jump of the clock, the mark is removed. The decoder still
    detects damage.

    Args:
        packets: packets of one stream, with `pts`, `dts` and `duration` in its time base.
        rate: frames per second, for packets without a duration.
    """
    shift, due = 0, None
    held: list[Any] = []  # a packet that is marked, and those after it
    for packet in packets:
        joint = False
        if packet.dts is not None:
            step = packet.duration or round(1 / ((rate or _DEFAULT_RATE) * packet.time_base))
            if due is not None:
                ahead = float((packet.dts + shift - due) * packet.time_base)
                jump = not -_BACKWARD_JUMP <= ahead <= _FORWARD_JUMP
                shift = due - packet.dts if jump else shift
                joint = packet.is_keyframe and abs(packet.dts + shift - due) < step
            if shift:
                packet.dts += shift
                packet.pts = None if packet.pts is None else packet.pts + shift
            due = packet.dts + step
        if joint:
            for one in held:
                one.is_corrupt = False
        if joint or len(held) > _PACKETS_TO_JOINT:
            yield from held
            held = []
        if held or packet.is_corrupt:
            held.append(packet)
        else:
            yield packet
    yield from held


def packets_from(packets: Iterator[Any], start: float, restart: Callable[[], None]) -> Iterator[Any]:
    """Yield the packets from the last keyframe at or before a time; for streams that cannot be sought by their clock.

    Args:
        packets: packets in decoding order.
        start: seconds.
        restart: called before the first packet, if packets were left out, to reset the decoder.
    """
    held: list[Any] = []
    skipped = False
    for packet in packets:
        begin = None if packet.pts is None else float(packet.pts * packet.time_base)
        if packet.is_keyframe and begin is not None and begin <= start:
            held, skipped = [], True
        held.append(packet)
        late = packet.dts is not None and float(packet.dts * packet.time_base) > start
        if late or packet.size == 0 or len(held) > _MAX_HELD:
            break
    if skipped:
        restart()
    yield from held
    yield from packets
