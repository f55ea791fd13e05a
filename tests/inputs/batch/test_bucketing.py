from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from depth_anything_3.inputs.batch.bucketing import ReorderBuffer, bucket_by_size
from depth_anything_3.inputs.failure import ImageFailure


def image(index: int, size: tuple[int, int]) -> SimpleNamespace:
    return SimpleNamespace(index=index, plan=SimpleNamespace(result_hw=size))


sizes = st.lists(st.sampled_from([(14, 14), (14, 28), (28, 14), None]), max_size=60)


@given(sizes, st.integers(1, 5), st.integers(1, 4))
def test_batches_are_of_one_size_with_every_image_once_and_soon(kinds, batch_size, ahead):
    failures = [ImageFailure(i, str(i), ValueError()) for i, kind in enumerate(kinds) if kind is None]  # type: ignore[arg-type]
    drawn = 0

    def source():
        nonlocal drawn
        for index, kind in enumerate(kinds):
            drawn += 1
            yield image(index, kind) if kind else failures[[one.index for one in failures].index(index)]

    in_order: ReorderBuffer[int] = ReorderBuffer()
    given_back, emitted = [], 0
    for batch in bucket_by_size(source(), lambda size: batch_size, ahead):
        if isinstance(batch, ImageFailure):
            given_back += in_order.put(batch.index, batch.index)
            continue
        assert len({one.plan.result_hw for one in batch}) == 1
        assert 1 <= len(batch) <= batch_size
        for one in batch:
            given_back += in_order.put(one.index, one.index)
        emitted += len(batch)
        held = sum(kind is not None for kind in kinds[:drawn]) - emitted
        assert held < max(ahead, 3) * batch_size
    assert given_back == list(range(len(kinds)))


def test_images_of_one_size_fill_their_batches():
    batches = list(bucket_by_size((image(i, (14, 14)) for i in range(10)), lambda size: 4, 2))
    assert [[one.index for one in batch] for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_batch_size_may_change_in_between():
    limits = iter([1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    batches = list(bucket_by_size((image(i, (14, 14)) for i in range(8)), lambda size: next(limits), 4))
    assert [[one.index for one in batch] for batch in batches][:2] == [[0], [1]]
    assert max(len(batch) for batch in batches) == 3
    assert [one.index for batch in batches for one in batch] == list(range(8))
