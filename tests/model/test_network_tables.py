"""Tables that networks keep between calls: they follow the weights, the device and the mode, from any thread."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from depth_anything_3.model.position_table import PositionTables, interpolate_position_table
from support.tiny_networks import assert_same, images, run


def test_tables_follow_the_weights(tiny):
    net, x = copy.deepcopy(tiny), images(1, 2)
    table = net.backbone["pretrained"].pos_embed
    before = run(net, x)["depth"]
    with torch.no_grad():
        table.mul_(2)
    changed = run(net, x)["depth"]
    assert not torch.equal(changed, before)
    net.load_state_dict(tiny.state_dict())
    assert torch.equal(run(net, x)["depth"], before)
    net.load_state_dict({k: v.clone() for k, v in net.state_dict().items()}, assign=True)
    net.backbone["pretrained"].pos_embed = torch.nn.Parameter(2 * tiny.backbone["pretrained"].pos_embed)
    assert torch.equal(run(net, x)["depth"], changed)


def test_tables_made_in_inference_mode_serve_gradients(tiny):
    x = images(1, 3, height=70)
    run(tiny, x)
    x.requires_grad_()
    tiny(x)["depth"].sum().backward()
    assert x.grad.isfinite().all()


def test_the_number_of_cached_tables_is_bounded(tiny):
    for width in range(14, 14 * 14, 14):
        run(tiny, images(1, 1, height=14, width=width))
    backbone = tiny.backbone["pretrained"]
    assert len(backbone._rotary_tables) == 8
    assert len(backbone._position_tables._tables.cache) == 8
    assert len(tiny.head.uv._tables) == 32


def test_tables_made_for_one_thread_serve_another(tiny):
    # What a background thread and the caller do at once: other sizes, scenes and modes, on one network.
    net, sizes = copy.deepcopy(tiny), [(14 * rows, 14 * cols) for rows in (1, 2, 3) for cols in (1, 2, 3, 4)]
    alone = [run(tiny, images(1, 2, *size)) for size in sizes]

    def all_sizes(first):
        order = [(first + step) % len(sizes) for step in range(2 * len(sizes))]
        return {place: run(net, images(1, 2, *sizes[place])) for place in order}

    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(all_sizes, (0, 3, 6, 9)):
            for place, expected in enumerate(alone):
                assert torch.equal(found[place]["depth"], expected["depth"])


def test_a_thread_that_still_has_the_old_weights_leaves_no_table_of_them():
    # The thread asks for its table before the weights change, and makes it afterwards.
    tables, old, new = PositionTables(), torch.randn(1, 1 + 37**2, 4), torch.randn(1, 1 + 37**2, 4)
    tables(old, 2, 3)
    kept_of_old = tables._tables.cache
    assert torch.equal(tables(new, 5, 5), interpolate_position_table(new, 5, 5))
    kept_of_old.get((2, 3), old.device, lambda: interpolate_position_table(old, 2, 3))
    assert torch.equal(tables(new, 2, 3), interpolate_position_table(new, 2, 3))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_a_copy_starts_without_tables(tiny, copied):
    x = images(1, 2)
    expected = run(tiny, x)
    twin = copied(tiny)
    assert len(twin.backbone["pretrained"]._rotary_tables) == 0
    assert twin.backbone["pretrained"]._position_tables._tables is None
    assert torch.equal(run(twin, x)["depth"], expected["depth"])


def test_tables_follow_the_type_and_the_device_of_the_weights(tiny):
    net, x = copy.deepcopy(tiny), images(1, 2)
    expected = run(net, x)["depth"]
    table = net.backbone["pretrained"].pos_embed
    net.to(torch.bfloat16).float()  # the values are now those of bfloat16, in new memory
    rounded = run(net, x)["depth"]
    assert not torch.equal(rounded, expected)
    fresh = copy.deepcopy(net)
    assert torch.equal(run(fresh, x)["depth"], rounded)
    net.load_state_dict(tiny.state_dict())
    assert torch.equal(run(net, x)["depth"], expected)
    # Away and back again: the tables kept are those of the CPU, and the weights are new ones there.
    net.to("meta")
    net.to_empty(device="cpu")
    net.load_state_dict({name: 2 * value for name, value in tiny.state_dict().items()})
    doubled = copy.deepcopy(net)
    assert torch.equal(run(net, x)["depth"], run(doubled, x)["depth"])
    assert net.backbone["pretrained"].pos_embed.shape == table.shape


def test_weights_loaded_in_inference_mode_serve_outside(tiny):
    x = images(1, 2)
    with torch.inference_mode():
        net = copy.deepcopy(tiny)
        net.load_state_dict({name: value.clone() for name, value in tiny.state_dict().items()}, assign=True)
        inside = net(x)["depth"]
        with torch.no_grad():
            net.backbone["pretrained"].pos_embed.mul_(2)  # not counted by torch, so no table may be kept
        changed = net(x)["depth"]
    assert torch.equal(inside, run(tiny, x)["depth"])
    assert not torch.equal(changed, inside)


@pytest.mark.slow
@pytest.mark.parametrize("views", [3])
def test_a_compiled_network_gives_the_same(tiny, views):
    net = copy.deepcopy(tiny).requires_grad_(False)
    run(net, images(1, views))  # tables are there, but the compiled network makes its own
    net.compile()
    for height in (42, 70):
        x = images(1, views, height=height)
        assert_same(run(net, x), run(tiny, x))
