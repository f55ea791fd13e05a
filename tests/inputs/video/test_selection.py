"""Frames are selected evenly by their times, whatever the rate of the source."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.video.selection import FrameSelection, parse_time

RATES = st.sampled_from(
    [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60)]
)


def taken(times, **options):
    selector = FrameSelection(**options).selector(times[0])
    return [place for place, seconds in enumerate(times) if selector.selects(seconds)]


def interval(seconds, fps):
    """A frame may come a little early: 5 ms, at most a quarter of an interval."""
    return math.floor(seconds * fps + min(0.25, 0.005 * fps))


def in_milliseconds(rate, count):
    """Times as Matroska stores them."""
    return [round(1000 * place / rate) / 1000 for place in range(count)]


@given(RATES)
def test_the_rate_of_the_source_selects_every_frame_at_rounded_times(rate):
    assert taken(in_milliseconds(rate, 2000), fps=float(rate)) == list(range(2000))


@given(RATES, st.floats(0.5, 60))
def test_constant_rate_frames_are_selected_evenly_without_drift(rate, fps):
    times = in_milliseconds(rate, 3000)
    chosen = taken(times, fps=fps)
    assert len(chosen) <= times[-1] * fps + 2
    for number, place in enumerate(chosen):
        if fps < 0.5 * rate:  # every interval has frames: the first of each is taken, hours in as at the start
            assert abs(times[place] - number / fps) <= 1 / rate + 0.007


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200), st.floats(0.1, 100))
def test_a_variable_rate_gives_one_frame_for_each_interval_with_frames(gaps, fps):
    times = [sum(gaps[:end]) for end in range(len(gaps))]
    chosen = [interval(times[place], fps) for place in taken(times, fps=fps)]
    assert chosen == sorted({interval(seconds, fps) for seconds in times})


@given(st.integers(1, 20), st.floats(0, 5), st.floats(0.1, 5))
def test_every_n_counts_from_the_first_frame_after_the_start(every, start, length):
    times = [place / 30 for place in range(400)]
    between = [place for place, seconds in enumerate(times) if start <= seconds < start + length]
    assert taken(times, every=every, start=start, end=start + length) == between[::every]


@given(RATES, st.integers(0, 299), st.sampled_from([{}, {"fps": 7.0}, {"every": 3}, {"start": 2.0, "fps": 2.5}]))
def test_resuming_after_a_frame_gives_the_frames_that_follow(rate, stopped, options):
    times = in_milliseconds(rate, 300)
    whole = taken(times, **options)
    assert taken(times, after=times[stopped], **options) == [place for place in whole if place > stopped]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "fps=0"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"every": 0}, "every=0"),
        ({"start": -1}, "start=-1"),
        ({"start": 5, "end": 5}, "not after"),
    ],
)
def test_invalid_selections_are_rejected(options, message):
    with pytest.raises(InvalidInputError, match=message):
        FrameSelection(**options)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90.5", 90.5), (".5", 0.5), ("1:30", 90), ("1:00:01.25", 3601.25), ("0", 0)]
)
def test_times_are_parsed_from_clock_notation(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1:2:3:4", "1h", "nan"])
def test_invalid_times_are_rejected(text):
    with pytest.raises(InvalidInputError, match="is not a time"):
        parse_time(text)
