"""Checkpoints from a hub are downloaded once and found in the cache, and errors explained."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import CheckpointFormatError, CheckpointNotFoundError
from depth_anything_3.model import hub as hub_module
from depth_anything_3.model.checkpoint import find_checkpoint
from support.fake_hub import COMMIT, HANG_UP, REPOSITORY, FakeHub

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@pytest.fixture
def hub_address(monkeypatch):
    """Points `huggingface_hub` at an address, as HF_ENDPOINT would have if set before it was imported."""

    def point_at(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the hub's client waits between its attempts
    return point_at


@pytest.fixture(scope="module")
def published() -> Path:
    """A small checkpoint with weights: that of the demonstration model."""
    return find_checkpoint("da3-nano").weights.parent


@pytest.fixture
def hub(published, hub_address):
    with FakeHub(published) as hub:
        hub_address(hub.address)
        yield hub


@pytest.fixture
def closed_port():
    """The address of a port that refuses connections."""
    with socket.socket() as unheard:  # bound, but nobody listens
        unheard.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unheard.getsockname()[1]}"


@pytest.fixture
def silent_hub():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def assert_has_the_weights(model: DepthAnything3, published: Path) -> None:
    state, stored = model.state_dict(), load_file(published / WEIGHTS)
    assert [name for name, value in stored.items() if not torch.equal(state[name], value)] == []


def load(name: str, cache: Path, **options: object) -> DepthAnything3:
    return DepthAnything3.from_pretrained(name, "cpu", cache_dir=cache, **options)


def test_a_downloaded_model_equals_the_hubs_and_is_found_again_without_it(hub, published, tmp_path):
    first = load(REPOSITORY, tmp_path)
    asked = len(hub.requests)
    second = load(REPOSITORY, tmp_path, local_files_only=True)
    assert len(hub.requests) == asked
    for model in (first, second):
        assert_has_the_weights(model, published)


def test_a_second_load_downloads_nothing_again(hub, tmp_path):
    for _ in range(2):
        load(REPOSITORY, tmp_path)
    downloads = [path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET"]
    assert downloads == [CONFIG, WEIGHTS]


def test_a_forced_download_asks_the_hub_for_every_file_again(hub, published, tmp_path):
    load(REPOSITORY, tmp_path)
    assert_has_the_weights(load(REPOSITORY, tmp_path, force_download=True), published)
    downloads = [path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET"]
    assert downloads == [CONFIG, WEIGHTS] * 2
    with pytest.raises(CheckpointNotFoundError, match=r"force_download=True, but the hub was not contacted"):
        load(REPOSITORY, tmp_path, force_download=True, local_files_only=True)


def test_revision_and_token_reach_the_hub(hub, tmp_path):
    load(REPOSITORY, tmp_path, revision="v1.1", token="hf_secret")
    files = [(path.split("/")[-2], token) for _, path, token in hub.requests if path != "/"]
    assert set(files) == {("v1.1", "Bearer hf_secret")}


def test_a_network_that_cannot_be_built_costs_no_download_of_weights(hub_address, tmp_path):
    (tmp_path / CONFIG).write_text('{"model_name": "da3-colossal"}')
    (tmp_path / WEIGHTS).write_bytes(bytes(100))
    with FakeHub(tmp_path) as hub:
        hub_address(hub.address)
        with pytest.raises(CheckpointFormatError, match=f"{REPOSITORY}: .*'da3-colossal'.* da3-base"):
            load(REPOSITORY, tmp_path / "cache")
    assert not any(path.endswith(WEIGHTS) for _, path, _ in hub.requests)


def test_a_repository_that_the_hub_does_not_know_is_named(hub, tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"^test/NONE: no such folder, and no such repository"):
        load("test/NONE", tmp_path)


@pytest.mark.parametrize(
    ("file", "status", "code", "message"),
    [
        pytest.param(CONFIG, 404, "RevisionNotFound", "no such repository or revision on the hub", id="no-revision"),
        pytest.param(CONFIG, 404, "EntryNotFound", "the repository has no config.json", id="no-config"),
        pytest.param(WEIGHTS, 404, "EntryNotFound", "the repository has no model.safetensors", id="no-weights"),
        pytest.param(CONFIG, 403, "GatedRepo", "access to the repository is restricted; log in", id="gated"),
        pytest.param(
            CONFIG, 503, "", "the hub cannot be reached; pass pretrained_model_name_or_path='PATH'", id="hub-down"
        ),
        pytest.param(WEIGHTS, HANG_UP, "", "the download of model.safetensors failed .*run again", id="hangs-up"),
    ],
)
def test_a_hub_that_refuses_is_explained(hub, tmp_path, file, status, code, message):
    hub.refuses[file] = (status, code)
    with pytest.raises(CheckpointNotFoundError, match=f"^{REPOSITORY}: .*{message}"):
        load(REPOSITORY, tmp_path)


NO_HUB = r"not in the hub's cache, and the hub cannot be reached \(.*\); pass pretrained_model_.*='PATH' .*='da3-nano'"


def test_a_closed_port_is_no_hub(closed_port, hub_address, tmp_path):
    hub_address(closed_port)
    with pytest.raises(CheckpointNotFoundError, match=NO_HUB):
        load(REPOSITORY, tmp_path)


def test_a_host_that_does_not_exist_is_no_hub(hub_address, tmp_path):
    hub_address("http://hub.invalid")
    with pytest.raises(CheckpointNotFoundError, match=r"cannot be reached \(http://hub\.invalid: "):
        load(REPOSITORY, tmp_path)


def test_a_hub_that_never_answers_is_no_hub_after_one_request(silent_hub, hub_address, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "_MAX_WAIT", 0.2)
    hub_address(silent_hub)
    with pytest.raises(CheckpointNotFoundError, match=r"cannot be reached \(.*within 0\.2 s\)"):
        load(REPOSITORY, tmp_path)


def test_a_gateway_that_answers_with_server_errors_is_no_hub(hub, tmp_path):
    hub.refuses[""] = (503, "")
    with pytest.raises(CheckpointNotFoundError, match=r"cannot be reached \(.*HTTP status 503\)"):
        load(REPOSITORY, tmp_path)
    assert [path for _, path, _ in hub.requests] == ["/"]


@pytest.mark.parametrize("gone", ["closed_port", "silent_hub"])
def test_without_a_hub_the_cache_is_enough(hub, hub_address, tmp_path, monkeypatch, request, gone):
    load(REPOSITORY, tmp_path)
    monkeypatch.setattr(hub_module, "_MAX_WAIT_IF_CACHED", 0.2)
    hub_address(request.getfixturevalue(gone))
    assert load(REPOSITORY, tmp_path).model_name == "da3-nano"


def test_the_wait_for_the_hub_can_be_set(silent_hub, hub_address, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.3")
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)  # read from the environment when it was imported
    hub_address(silent_hub)
    with pytest.raises(CheckpointNotFoundError, match=r"within 0\.3 s"):
        load(REPOSITORY, tmp_path)


def test_a_preset_is_loaded_from_its_preferred_repository(hub, tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"^depth-anything/DA3-LARGE-1\.1: .* no such repository"):
        load("da3-large", tmp_path)
    assert {path.partition("/resolve/")[0] for _, path, _ in hub.requests} == {"/", "/depth-anything/DA3-LARGE-1.1"}


def test_a_name_that_resembles_a_known_one_is_asked_back(hub, tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="did you mean 'depth-anything/DA3-BASE'"):
        load("depth-anything/DA3-BSAE", tmp_path)


def test_a_misspelt_preset_is_refused_without_asking_the_hub(hub, tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="did you mean 'da3-nano'"):
        load("da3-nanoo", tmp_path)
    assert hub.requests == []


def test_offline_the_hub_is_not_asked_and_the_cache_is_enough(hub, tmp_path, monkeypatch):
    load(REPOSITORY, tmp_path)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as the variable of this name, set before the import
    assert load(REPOSITORY, tmp_path).model_name == "da3-nano"
    with pytest.raises(CheckpointNotFoundError, match=r"was not contacted \(HF_HUB_OFFLINE is set\)"):
        load("test/OTHER", tmp_path)
    assert hub.requests == []


def test_without_the_hub_an_empty_cache_is_reported(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"not in the hub's cache.*not contacted \(local_files"):
        load(REPOSITORY, tmp_path, local_files_only=True)


def test_a_commit_in_the_cache_is_taken_without_the_hub(hub, hub_address, tmp_path):
    load(REPOSITORY, tmp_path)
    hub_address("http://127.0.0.1:9")
    assert load(REPOSITORY, tmp_path, revision=COMMIT).model_name == "da3-nano"


# Downloads that break off

ALWAYS = 50  # more often than the hub's client tries again


def test_an_interrupted_download_resumes_where_it_stopped(hub, published, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 250_000)  # what the hub's client writes at a time
    hub.cuts[WEIGHTS] = [1_000_000, 2_000_000]
    model = load(REPOSITORY, tmp_path)
    assert hub.ranges[1:] == [0, 1_000_000, 3_000_000]
    assert_has_the_weights(model, published)


def test_a_failed_download_is_reported_and_leaves_nothing_in_the_cache(hub, tmp_path):
    hub.cuts[WEIGHTS] = [1_000_000] * ALWAYS
    with pytest.raises(CheckpointNotFoundError, match=r"the download of model\.safetensors failed .*run again"):
        load(REPOSITORY, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1000
    hub.cuts.clear()
    assert load(REPOSITORY, tmp_path).model_name == "da3-nano"


def test_a_silent_hub_times_out(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)  # seconds; 10 unless HF_HUB_DOWNLOAD_TIMEOUT is set
    hub.cuts[WEIGHTS] = [-1_000_000] * ALWAYS
    with pytest.raises(CheckpointNotFoundError, match=r"the download of model\.safetensors failed .*run again"):
        load(REPOSITORY, tmp_path)


def test_weights_damaged_in_the_cache_are_named_and_downloaded_again(hub, tmp_path):
    load(REPOSITORY, tmp_path)
    (cached,) = tmp_path.rglob(WEIGHTS)
    blob = cached.resolve()
    os.truncate(blob, 1_000_000)
    with pytest.raises(CheckpointFormatError, match=rf"{cached}: truncated or damaged .*Delete .* run again") as caught:
        load(REPOSITORY, tmp_path)
    assert str(blob) in str(caught.value)
    blob.unlink()
    assert load(REPOSITORY, tmp_path).model_name == "da3-nano"
