"""`DepthAnything3.stream` and `depth` give one `Prediction` for each independent image, in order."""

from __future__ import annotations

import itertools
import logging
import threading

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ImageDecodeError, ImageReadError, InvalidInputError
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 2}
# Batched and single matrix products round differently; measured 2e-6 here.
BATCHED_TOLERANCE = 5e-5

# Landscape, portrait and square, mixed so that batches of one size span others.
SIZES = [(42, 56), (56, 42), (42, 56), (42, 56), (56, 56), (56, 42), (42, 56), (56, 56), (42, 56)]


@pytest.fixture(scope="module")
def photos():
    return [seeded_images_uint8(1, *size, seed)[0] for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def each_alone(seeded_small, photos):
    return [seeded_small.inference([photo], **SMALL) for photo in photos]


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=BATCHED_TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 20])
def test_each_photo_gets_the_result_it_has_alone_in_order(seeded_small, photos, each_alone, batch_size):
    predictions = seeded_small.depth(photos, batch_size=batch_size, **SMALL)
    for prediction, alone in zip(predictions, each_alone, strict=True):
        for name in ("depth", "conf", "extrinsics", "intrinsics"):
            assert_close(getattr(prediction, name), getattr(alone, name))
        np.testing.assert_array_equal(prediction.processed_images, alone.processed_images)
    assert [one.source_hw for one in predictions] == [(size,) for size in SIZES]
    assert [one.sources[0] for one in predictions] == [
        f"image {index} (array {height}x{width}x3)" for index, (height, width) in enumerate(SIZES)
    ]


def test_options_reach_the_network_and_the_resize(seeded_small, photos):
    (prediction,) = seeded_small.depth(
        photos[:1], process_res_method="lower_bound_crop", export_feat_layers=[2], use_ray_pose=True, **SMALL
    )
    expected = seeded_small.inference(
        photos[:1], process_res_method="lower_bound_crop", export_feat_layers=[2], use_ray_pose=True, **SMALL
    )
    assert prediction.depth.shape == (1, 56, 70)
    np.testing.assert_array_equal(prediction.extrinsics, expected.extrinsics)
    np.testing.assert_array_equal(prediction.aux["feat_layer_2"], expected.aux["feat_layer_2"])


def test_no_photos_give_no_results(seeded_small):
    assert seeded_small.depth([], **SMALL) == []


# Photos that cannot be used

BROKEN = (2, 5)


@pytest.fixture
def with_broken(photos, tmp_path):
    """The photos as files, two of them damaged."""
    paths = [tmp_path / f"photo_{index}.png" for index in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    for index in BROKEN:
        paths[index].write_bytes(paths[index].read_bytes()[:60])
    return paths


@pytest.mark.parametrize("batch_size", [1, 4])
def test_skipped_photos_are_reported_and_the_rest_keep_their_order(seeded_small, with_broken, each_alone, batch_size):
    failures = []
    predictions = seeded_small.depth(
        with_broken, batch_size=batch_size, on_error="skip", on_failure=failures.append, **SMALL
    )
    kept = [index for index in range(len(with_broken)) if index not in BROKEN]
    assert [one.sources for one in predictions] == [(str(with_broken[index]),) for index in kept]
    for prediction, index in zip(predictions, kept, strict=True):
        assert_close(prediction.depth, each_alone[index].depth)
    assert [(one.index, one.label) for one in failures] == [(index, str(with_broken[index])) for index in BROKEN]
    assert all(one.label in str(one.error) for one in failures)


def test_without_a_callback_each_skipped_photo_is_logged(seeded_small, with_broken, caplog):
    with caplog.at_level(logging.WARNING, "depth_anything_3"):
        assert len(seeded_small.depth(with_broken, on_error="skip", **SMALL)) == len(with_broken) - len(BROKEN)
    assert [str(with_broken[index]) in line for index, line in zip(BROKEN, caplog.messages, strict=True)] == [True] * 2


@pytest.mark.parametrize("batch_size", [1, 2, 4, 20])
def test_an_error_comes_after_the_results_of_the_photos_before_it(seeded_small, with_broken, batch_size):
    predictions = seeded_small.stream(with_broken, batch_size=batch_size, **SMALL)
    assert [next(predictions).sources[0] for _ in range(2)] == [str(path) for path in with_broken[:2]]
    with pytest.raises(ImageReadError, match=r"photo_2\.png"):
        next(predictions)
    assert list(predictions) == []


def test_a_callback_may_stop_the_stream(seeded_small, with_broken):
    class EnoughError(Exception):
        pass

    def stop(_failure):
        raise EnoughError

    predictions = seeded_small.stream(with_broken, on_error="skip", on_failure=stop, **SMALL)
    next(predictions), next(predictions)
    with pytest.raises(EnoughError):
        next(predictions)


def test_an_error_that_is_raised_leaves_no_thread_at_work(seeded_small, photos):
    endless = itertools.chain([photos[0], b"?"], itertools.cycle(photos))
    with pytest.raises(ImageDecodeError) as raised:
        list(seeded_small.stream(endless, **SMALL))
    assert raised.tb is not None  # as long as it is held, the generator's frame is
    assert [one for one in threading.enumerate() if one.name == "da3-prefetch"] == []


# Photos without end


@pytest.mark.parametrize(
    ("batch_size", "most_drawn"),
    [
        # Two workers prepare two photos each ahead, one more is drawn as a result is taken, a batch is ready, one is in
        # the network, and the results of one wait.
        pytest.param(1, 2 * 2 + 1 + 3 * 1, id="alone"),
        # Besides, up to four batches are held back while their sizes fill up.
        pytest.param(3, 2 * 2 + 4 * 3 + 3 * 3, id="batches-of-3"),
    ],
)
def test_photos_are_drawn_from_a_generator_only_as_results_are_taken(seeded_small, photos, batch_size, most_drawn):
    drawn = []

    def camera():
        for photo in itertools.cycle(photos):
            drawn.append(photo)
            yield photo

    predictions = seeded_small.stream(camera(), batch_size=batch_size, **SMALL)
    assert not drawn
    for taken in range(5):
        next(predictions)
        assert taken < len(drawn) <= taken + most_drawn
    predictions.close()
    assert len(seeded_small.depth(photos[:1], **SMALL)) == 1  # the workers are free again


def test_a_photo_of_a_rare_size_does_not_wait_for_another_of_it(seeded_small, photos):
    landscape, portrait = photos[:2]
    drawn = []

    def camera():
        for photo in [portrait, *[landscape] * 40]:
            drawn.append(photo)
            yield photo

    predictions = seeded_small.stream(camera(), batch_size=3, **SMALL)
    assert next(predictions).source_hw == ((56, 42),)
    assert len(drawn) <= 2 * 2 + 4 * 3 + 3 * 3  # as above


def test_a_stream_continues_after_a_call_with_other_workers(seeded_small, photos):
    predictions = seeded_small.stream(photos, process_res=56, num_workers=1)
    next(predictions)
    seeded_small.inference(photos[:1], process_res=56, num_workers=2)
    assert len(list(predictions)) == len(photos) - 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        *(
            pytest.param({"batch_size": value}, f"batch_size={value!r}: give a whole number", id=f"batch_size={value}")
            for value in (0, -1, True, 1.5, "2")
        ),
        pytest.param({"num_workers": 0}, "num_workers=0", id="num_workers"),
        pytest.param({"process_res": 13}, "13", id="process_res"),
        pytest.param({"process_res_method": "stretch"}, "'stretch'", id="process_res_method"),
        pytest.param({"on_error": "ignore"}, "'ignore'", id="on_error"),
        pytest.param({"exif": "yes"}, "'yes'", id="exif"),
    ],
)
def test_a_bad_option_is_refused_at_the_call_not_at_the_first_result(seeded_small, options, told):
    with pytest.raises(InvalidInputError, match=told):
        seeded_small.stream([], **(SMALL | options))
