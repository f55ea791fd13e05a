"""Hold the images of a stream until their depth is known, and bring the depth to their size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from depth_anything_3.errors import DA3Error
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.given_images import ImagesInput, expand_images
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.prediction import Prediction

__all__ = ["stream_at_input_size"]

OnFailure = Callable[[ImageFailure], None]
Stream = Callable[[Iterable[ImageInput], OnFailure], Iterator[Prediction]]


def stream_at_input_size(
    stream: Stream,
    images: ImagesInput,
    output: OutputOptions,
    preprocess: PreprocessOptions,
    on_failure: OnFailure,
) -> Iterator[Prediction]:
    """Yield the predictions of a stream at the size of their images, in the caller's thread.

    What is held of each image is what the caller gave, a path for a file, which is then decoded again.

    Args:
        stream: computes images, in order; calls a function for those that fail, at their place in the order.
        images: the images.
        output: how predictions are enlarged.
        preprocess: the options of the run.
        on_failure: called for each image that cannot be used, at its place in the order.
    """
    given = expand_images(images).images
    waiting: deque[tuple[int, ImageInput]] = deque()

    def noted() -> Iterator[ImageInput]:
        for index, image in enumerate(given):
            waiting.append((index, image))
            yield image

    def failed(failure: ImageFailure) -> None:
        waiting.popleft()
        on_failure(failure)

    def results(predictions: Iterator[Prediction]) -> Generator[Prediction, None, None]:
        with closing(predictions):  # type: ignore[type-var]  # a generator
            for prediction in predictions:
                index, image = waiting.popleft()
                try:
                    resized = output.apply(prediction, [image], preprocess)
                except DA3Error as error:  # the file is gone, for one
                    on_failure(ImageFailure(index, prediction.sources[0], error))
                else:
                    yield resized

    return results(stream(noted(), failed))
