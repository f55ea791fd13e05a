"""Checkpoints in folders are saved and loaded in the official format, and errors explained."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import CheckpointFormatError, CheckpointNotFoundError, ExportError
from depth_anything_3.model import hub
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.model.checkpoint import find_checkpoint
from support.checkpoints import preset_shapes, truncate, write_sparse_checkpoint
from support.full_disk import full_disk
from support.goldens import published_parameters

WEIGHTS = "model.safetensors"
CLASS_TOKEN = "model.backbone.pretrained.cls_token"
SHARED_NORM = "model.head.scratch.output_conv2_aux.{}.2.weight"


@pytest.fixture(scope="module")
def zeros(tmp_path_factory) -> Path:
    """A sound checkpoint of zeros, not to be changed."""
    return write_sparse_checkpoint(tmp_path_factory.mktemp("zeros"))


def names_in(file: Path) -> set[str]:
    with safe_open(file, framework="np") as opened:
        return set(opened.keys())


def test_a_saved_model_loads_bit_for_bit(seeded_small, small_checkpoint):
    loaded = DepthAnything3.from_pretrained(small_checkpoint, "cpu")
    saved = seeded_small.state_dict()
    assert loaded.model_name == "da3-small"
    assert {name: value for name, value in loaded.state_dict().items() if not torch.equal(value, saved[name])} == {}
    assert loaded.state_dict().keys() == saved.keys()


def few_values(preset):
    """A few values for every tensor, different ones for each, signs of zero among them; the rest is zero."""
    rng = np.random.default_rng(0)
    counts = {name: min(4, math.prod(shape)) for name, shape in preset_shapes(preset).items()}
    return {name: np.float32(rng.choice([-0.0, 1.0], n)) * rng.random(n, np.float32) for name, n in counts.items()}


@pytest.mark.parametrize("preset", MODEL_CARDS)
def test_every_preset_loads_each_tensor_by_its_name(tmp_path, preset):
    values = few_values(preset)
    model = DepthAnything3.from_pretrained(write_sparse_checkpoint(tmp_path, preset, values=values), "cpu")
    state = model.state_dict()
    assert (model.model_name, state.keys()) == (preset, values.keys())
    wrong = [name for name, value in values.items() if bits(state[name])[: len(value)].tolist() != bits(value).tolist()]
    assert wrong == []


def bits(values):
    return torch.as_tensor(values).flatten().view(torch.int32)


BIG = [name for name in MODEL_CARDS if name not in ("da3-small", "da3-base", "da3-nano")]


@pytest.mark.parametrize(
    "preset", ["da3-base", "da3-nano", *(pytest.param(preset, marks=pytest.mark.slow) for preset in BIG)]
)
def test_every_preset_is_saved_as_it_was_loaded(tmp_path, preset):
    folder = write_sparse_checkpoint(tmp_path / "a", preset, values=few_values(preset))
    model = DepthAnything3.from_pretrained(folder, "cpu")
    model.save_pretrained(tmp_path / "b")
    again = DepthAnything3.from_pretrained(tmp_path / "b", "cpu")
    assert again.model_name == preset
    state = again.state_dict()
    assert {
        name for name, value in model.state_dict().items() if not torch.equal(bits(value), bits(state[name]))
    } == set()
    (tmp_path / "b" / WEIGHTS).unlink()  # gigabytes


def test_a_loaded_model_is_in_eval_mode_and_can_be_trained(zeros):
    model = DepthAnything3.from_pretrained(zeros, "cpu")
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_saved_file_holds_the_official_names(small_checkpoint):
    assert names_in(small_checkpoint / WEIGHTS) == published_parameters()["da3-small"].keys()


def test_saved_names_start_with_model_and_the_shared_norm_is_stored_once(small_checkpoint):
    names = names_in(small_checkpoint / WEIGHTS)
    assert all(name.startswith("model.") for name in names)
    assert [level for level in range(4) if SHARED_NORM.format(level) in names] == [0]
    assert json.loads((small_checkpoint / "config.json").read_text()) == {"model_name": "da3-small"}


def test_of_several_copies_of_the_shared_norm_the_highest_counts(tmp_path):
    names = {level: SHARED_NORM.format(level) for level in (0, 3, 1)}
    shape = preset_shapes("da3-small")[names[0]]
    folder = write_sparse_checkpoint(
        tmp_path,
        shapes={**preset_shapes("da3-small"), names[3]: shape, names[1]: shape},
        values={name: np.full(shape, level, np.float32) for level, name in names.items()},
    )
    loaded = DepthAnything3.from_pretrained(folder, "cpu").state_dict()
    assert loaded[names[0]].unique().tolist() == [3.0]


@pytest.mark.parametrize(
    ("stored", "half"),
    [
        pytest.param("F16", np.float16(0.5).tobytes(), id="float16"),
        pytest.param("BF16", b"\x00\x3f", id="bfloat16"),
        pytest.param("F64", np.float64(0.5).tobytes(), id="float64"),
    ],
)
def test_weights_of_another_type_become_float32(tmp_path, stored, half):
    folder = write_sparse_checkpoint(tmp_path, dtype=stored, values={CLASS_TOKEN: np.frombuffer(half, np.uint8)})
    model = DepthAnything3.from_pretrained(folder, "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.state_dict()[CLASS_TOKEN].flatten()[:2].tolist() == [0.5, 0.0]


def test_a_config_without_a_name_means_da3_large_as_upstream(tmp_path):
    folder = write_sparse_checkpoint(tmp_path)
    (folder / "config.json").write_text("{}")
    assert find_checkpoint(folder).preset == "da3-large"


def test_the_demonstration_comes_with_the_package_and_needs_no_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "HubRepository", None)
    found = find_checkpoint("da3-nano")
    assert (found.preset, found.weights.parent.name) == ("da3-nano", "da3-nano")
    assert sum(file.stat().st_size for file in found.weights.parent.iterdir()) <= 12_000_000
    with safe_open(found.weights, framework="np") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_a_user_folder_takes_precedence_over_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sparse_checkpoint(tmp_path / "da3-nano")
    assert find_checkpoint("da3-nano").preset == "da3-small"


def test_a_folder_may_start_with_the_home_sign(zeros, monkeypatch):
    monkeypatch.setenv("HOME", str(zeros.parent))
    assert DepthAnything3.from_pretrained(f"~/{zeros.name}", "cpu").model_name == "da3-small"


def test_a_model_can_be_saved_over_the_file_it_was_loaded_from(tmp_path):
    folder = write_sparse_checkpoint(tmp_path, values={CLASS_TOKEN: np.full(384, 2, np.float32)})
    model = DepthAnything3.from_pretrained(folder, "cpu")
    model.save_pretrained(folder)
    again = DepthAnything3.from_pretrained(folder, "cpu")
    for one in (model, again):
        assert one.state_dict()[CLASS_TOKEN].unique().tolist() == [2.0]


# What cannot be loaded


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("/nowhere/da3", "no such folder", id="no-such-folder"),
        pytest.param("~nobody-here/da3", "no such folder", id="no-such-home"),
        pytest.param("a/b/c", "and not a hub id", id="too-many-slashes"),
        pytest.param("da3-nanoo", "not a hub id .*did you mean 'da3-nano'", id="misspelt-preset"),
        pytest.param("DA3-LARGE-1.1", "did you mean 'depth-anything/DA3-LARGE-1.1'", id="no-owner"),
        pytest.param(
            "https://huggingface.co/depth-anything/DA3-BASE", "did you mean 'depth-anything/DA3-BASE'", id="url"
        ),
        pytest.param("", "^'': no such folder", id="empty"),
        pytest.param(
            "not a hub id", "a hub id such as depth-anything/DA3-BASE, or one of da3-small, .*nano$", id="spaces"
        ),
        pytest.param("nul\0byte", "no such folder", id="nul-byte"),
        pytest.param("x" * 5000, "no such folder", id="too-long"),
    ],
)
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_refused(name, reason):
    with pytest.raises(CheckpointNotFoundError, match=reason) as caught:
        DepthAnything3.from_pretrained(name, "cpu")
    assert str(caught.value).startswith(name)


def test_a_file_in_place_of_its_folder_is_refused(zeros):
    with pytest.raises(CheckpointNotFoundError, match=f"{WEIGHTS}: not a folder; pass the folder"):
        DepthAnything3.from_pretrained(zeros / WEIGHTS, "cpu")


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS])
def test_a_folder_with_one_of_the_two_files_says_which_is_missing(tmp_path, missing):
    write_sparse_checkpoint(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(CheckpointNotFoundError, match=f"{re.escape(str(tmp_path))}: the folder has no {missing}"):
        DepthAnything3.from_pretrained(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"{", "is not a valid configuration", id="cut-off"),
        pytest.param(b"", "is not a valid configuration", id="empty"),
        pytest.param(b"[]", "is not a valid configuration", id="a-list"),
        pytest.param(b"\xff\xfe\x00", "is not a valid configuration", id="not-text"),
        pytest.param(b'{"model_name": 3}', "model_name is 3", id="a-number-for-a-name"),
        pytest.param(
            b'{"model_name": "da3-tiny"}', "names the unknown model 'da3-tiny'.* da3-small", id="unknown-network"
        ),
    ],
)
def test_a_config_that_cannot_be_understood_is_named(tmp_path, content, reason):
    write_sparse_checkpoint(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointFormatError, match=f"^{re.escape(str(tmp_path))}: its config.json .*{reason}"):
        DepthAnything3.from_pretrained(tmp_path, "cpu")


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="empty"),
        pytest.param(4, id="in-the-length"),
        pytest.param(1000, id="in-the-header"),
        pytest.param(50_000_000, id="in-the-tensors"),
        pytest.param(-1, id="last-byte"),
    ],
)
def test_a_truncated_file_is_reported_with_its_size(tmp_path, size):
    file = write_sparse_checkpoint(tmp_path) / WEIGHTS
    truncate(file, size)
    message = f"^{re.escape(str(file))}: truncated or damaged .*{file.stat().st_size:,} bytes.*copy it again"
    with pytest.raises(CheckpointFormatError, match=message):
        DepthAnything3.from_pretrained(tmp_path, "cpu")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", id="git-lfs-pointer"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="a-pickle-renamed"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    file = write_sparse_checkpoint(tmp_path) / WEIGHTS
    file.write_bytes(content)
    with pytest.raises(CheckpointFormatError, match=f"{re.escape(str(file))}: truncated or damaged"):
        DepthAnything3.from_pretrained(tmp_path, "cpu")


def without(*names):
    return {name: shape for name, shape in preset_shapes("da3-small").items() if name not in names}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        pytest.param(without(CLASS_TOKEN), f"1 missing: {CLASS_TOKEN}$", id="missing"),
        pytest.param(without() | {"model.extra": (2,)}, "1 unexpected: model.extra$", id="unexpected"),
        pytest.param(
            without() | {CLASS_TOKEN: (1, 1, 7)},
            rf"1 of wrong shape: {CLASS_TOKEN} \[1, 1, 7\] instead of \[1, 1, 384\]$",
            id="wrong-shape",
        ),
        pytest.param(
            {name.removeprefix("model."): shape for name, shape in without().items()},
            r"\d+ missing: (model\.\S+, ){10}and \d+ more\. \d+ unexpected: .* and \d+ more$",
            id="all-without-their-prefix",
        ),
    ],
)
def test_a_file_that_does_not_fit_its_preset_lists_the_names(tmp_path, shapes, message):
    write_sparse_checkpoint(tmp_path, shapes=shapes)
    begins = f"^{re.escape(str(tmp_path / WEIGHTS))} does not match the preset da3-small .*"
    with pytest.raises(CheckpointFormatError, match=begins + message):
        DepthAnything3.from_pretrained(tmp_path, "cpu")


# What cannot be saved


def test_a_folder_that_is_a_file_cannot_be_saved_to(seeded_small, tmp_path):
    (tmp_path / "taken").write_text("not a folder")
    with pytest.raises(ExportError, match=f"taken/{WEIGHTS}: cannot be written"):
        seeded_small.save_pretrained(tmp_path / "taken")


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_whole(seeded_small, tmp_path):
    write_sparse_checkpoint(tmp_path)
    before = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    with full_disk(1_000_000), pytest.raises(ExportError, match=f"{WEIGHTS}: cannot be written"):
        seeded_small.save_pretrained(tmp_path)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == before


# Memory

LOAD_AND_READ_ALL = r"""
import re, sys
from pathlib import Path
from depth_anything_3.api import DepthAnything3

peak = lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
model = DepthAnything3.from_pretrained(sys.argv[1], "cpu")
assert all(float(parameter.abs().amax()) == 0 for parameter in model.parameters())
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted differently elsewhere")
def test_loading_makes_no_second_copy_of_the_weights(tmp_path):
    file = write_sparse_checkpoint(tmp_path, "da3-base") / WEIGHTS
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_READ_ALL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    size = file.stat().st_size
    assert size > 300e6
    # Reading maps each page of the file once; a copy in memory would make it twice the size.
    assert 0.5 * size < int(done.stdout) < 1.3 * size


def test_weights_are_readable_as_other_files_are(tmp_path):
    DepthAnything3("da3-small").save_pretrained(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]
