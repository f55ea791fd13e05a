"""Read packets with timestamps that continue where a stream's clock jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from depth_anything_3.errors import VideoReadError

__all__ = ["OTHER_STREAM", "joined_packets", "packets_from", "stream_packets"]

OTHER_STREAM = (
    "the parts of the video are in different streams, as in files that were joined. "
    "Convert the parts with ffmpeg and its concat filter"
)
"""Message for a joint behind which the video has another number."""

_MAX_LATE = 2  # packets that the demuxer holds until the end of the file
_MAX_OTHERS = 25  # packets of other videos behind the last one; streams are interleaved by a second or less

_FORWARD_JUMP = 10.0  # seconds, as in the ffmpeg command
_PACKETS_TO_JOINT = 2  # from the mark; FFmpeg's parsers look one packet ahead
_MAX_HELD = 2000  # packets between two keyframes
_DEFAULT_RATE = 25


def joined_packets(packets: Iterable[Any], rate: Fraction | None) -> Iterator[Any]:  # Any: PyAV is optional
    """Yield the packets of one stream; where its clock jumps, as in joined transport streams, shift the later ones.

    At a joint the demuxer marks one of the last packets as corrupt, because the counters of the next file begin anew.
    If a keyframe follows at once, and no gap, the mark is removed. The decoder still detects damage.

    Args:
        packets: packets of one stream, with `pts`, `dts` and `duration` in its time base.
        rate: frames per second, for packets without a duration.
    """
    shift, last, step, found = 0, None, 0, False
    held: list[Any] = []  # a packet that is marked, and those after it
    for packet in packets:
        joint = gap = False
        if packet.dts is not None:
            if last is not None:
                step = last.duration or step or round(1 / ((rate or _DEFAULT_RATE) * packet.time_base))
                ahead = packet.dts + shift - last.dts
                if ahead < 0 or ahead * packet.time_base > _FORWARD_JUMP:
                    shift, ahead = last.dts + step - packet.dts, step
                gap = ahead >= 2 * step
                joint = packet.is_keyframe and not gap
                step = ahead
            if shift:
                packet.dts += shift
                packet.pts = None if packet.pts is None else packet.pts + shift
            last = packet
        if held:
            found = found or joint
            held.append(packet)
            if gap or len(held) > _PACKETS_TO_JOINT:
                for one in held if found and not gap else ():
                    one.is_corrupt = False
                yield from held
                held = []
        elif packet.is_corrupt and not gap:
            held, found = [packet], False
        else:
            yield packet
    yield from held


def stream_packets(packets: Iterable[Any], index: int, label: str) -> Iterator[Any]:
    """Yield the packets of one of the video streams.

    Raises:
        VideoReadError: after the last one, if another stream continues; before the first one, if another precedes.
    """
    parted = seen = False
    others = own = 0  # packets of the others since the last packet of the stream; of the stream since many others
    for packet in packets:
        if packet.size > 0 and packet.stream_index != index:
            others += 1
        elif packet.size > 0:
            if not seen and others > _MAX_OTHERS:
                raise VideoReadError(f"{label}: {OTHER_STREAM}")
            seen = True
            own = 0 if others > _MAX_OTHERS else own + 1
            others = 0
        if packet.stream_index == index:
            yield packet
        parted = others > _MAX_OTHERS or (parted and own <= _MAX_LATE)
    if parted:
        raise VideoReadError(f"{label}: {OTHER_STREAM}")


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
