"""The predictor inside Daft, as docs/scale.md shows it."""

from __future__ import annotations

import pytest

from depth_anything_3.jobs.cluster import DepthPredictor
from support.images import jpeg

daft = pytest.importorskip("daft")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Daft's libraries
def test_a_column_of_depth(small_checkpoint):
    predict = DepthPredictor(str(small_checkpoint), process_res=56)
    kind = daft.DataType.struct({"depth": daft.DataType.binary(), "error": daft.DataType.string()})

    @daft.func.batch(return_dtype=kind)
    def depth(id: daft.Series, data: daft.Series):
        rows = predict({"id": id.to_pylist(), "bytes": data.to_pylist()})
        return [{"depth": png, "error": error} for png, error in zip(rows["depth"], rows["error"], strict=True)]

    images = {"id": ["a", "bad"], "bytes": [jpeg(), jpeg()[:99]]}
    frame = daft.from_pydict(images)
    results = frame.with_column("result", depth(frame["id"], frame["bytes"])).to_pydict()["result"]
    assert results[0]["depth"] == predict(images)["depth"][0]
    assert results[1]["error"].startswith("ImageDecodeError: bad: ")
