"""Matrices of the backbone in the dtype of its computation: the same results, float32 for everyone who asks."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from depth_anything_3.model.network import use_matrix_dtype
from support.tiny_networks import assert_same, images, run

LOW = [torch.bfloat16, torch.float16]


class WeightCasts(TorchDispatchMode):
    """Records the conversions of a network's own weights."""

    def __init__(self, net):
        super().__init__()
        self.weights = {one.data_ptr() for one in net.parameters()}
        self.count = self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        converts = func in (torch.ops.aten._to_copy.default, torch.ops.aten.to.dtype)
        if converts and result.dtype is not args[0].dtype and args[0].data_ptr() in self.weights:
            self.count, self.elements = self.count + 1, self.elements + args[0].numel()
        return result


def run_low(net, x, dtype=torch.bfloat16, **options):
    with torch.autocast("cpu", dtype):
        return run(net, x, **options)


def dtypes(net):
    return {one.dtype for one in net.parameters()}


def size(module):
    return sum(one.numel() * one.element_size() for one in module.parameters())


@pytest.fixture
def net(tiny):
    return copy.deepcopy(tiny)


@pytest.fixture
def held(net):
    use_matrix_dtype(net, torch.bfloat16)
    assert dtypes(net) == {torch.float32, torch.bfloat16}
    return net


def assert_exact(net, reference):
    """Every weight is a float32 parameter with the reference's bits."""
    for (name, found), expected in zip(net.named_parameters(), reference.parameters(), strict=True):
        assert isinstance(found, nn.Parameter)
        assert (found.dtype, found.requires_grad) == (torch.float32, expected.requires_grad), name
        assert torch.equal(found, expected), name


@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_results_are_those_of_autocast_to_the_last_bit(tiny, net, dtype):
    x = images(1, 3)
    expected = run_low(tiny, x, dtype, export_feat_layers=[1, 5])
    use_matrix_dtype(net, dtype)
    found = run_low(net, x, dtype, export_feat_layers=[1, 5])
    assert_same(found, expected, tolerance=0)
    assert net.backbone["pretrained"].matrices.dtype is dtype


def test_no_weight_is_converted_in_a_forward(small):
    net, x = copy.deepcopy(small), images(1, 2)
    with WeightCasts(net) as before:
        run_low(net, x)
    use_matrix_dtype(net, torch.bfloat16)
    with WeightCasts(net) as after:
        run_low(net, x)
    # 12 blocks with four linear layers, and the patch embedding: a weight and a bias each.
    assert (before.count, after.count) == (2 * (12 * 4 + 1), 0)
    assert before.elements > 0.95 * sum(one.numel() for one in net.backbone.parameters())


def test_the_backbone_takes_half_the_memory(small):
    net = copy.deepcopy(small)
    before = size(net.backbone)
    use_matrix_dtype(net, torch.float16)
    assert size(net.backbone) < 0.52 * before
    assert size(net.head) == size(small.head)


def test_what_autocast_leaves_in_float32_stays_so(held):
    low = {name for name, one in held.named_parameters() if one.dtype is torch.bfloat16}
    backbone = held.backbone["pretrained"]
    layers = [
        f"backbone.pretrained.{name}"
        for name, one in backbone.named_modules()
        if isinstance(one, (nn.Linear, nn.Conv2d))
    ]
    assert low == {f"{name}.{leaf}" for name in layers for leaf in ("weight", "bias")}
    assert {one.dtype for one in held.head.parameters()} == {torch.float32}


ASKING = {
    "state_dict": lambda net: net.state_dict(),
    "state_dict_of_a_part": lambda net: net.backbone["pretrained"].state_dict(),
    "float": lambda net: net.float(),
    "train": lambda net: net.train(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "float32": lambda net: use_matrix_dtype(net, torch.float32),
    "forward": lambda net: run(net, images()),
    "other_autocast": lambda net: run_low(net, images(), torch.float16),
    "gradients": lambda net: net(images()),
    "gradients_under_autocast": lambda net: torch.autocast("cpu", torch.bfloat16)(net)(images()),
}


@pytest.mark.parametrize("asked", ASKING.values(), ids=ASKING)
def test_the_weights_are_the_loaded_float32_for(tiny, held, asked):
    parameters = list(held.parameters())
    result = asked(held)
    assert_exact(held, tiny)
    assert all(a is b for a, b in zip(held.parameters(), parameters, strict=True))  # an optimiser's references hold
    if isinstance(result, dict) and "depth" not in result:
        assert {one.dtype for one in result.values()} == {torch.float32}
    if isinstance(result, nn.Module):
        assert_exact(result, tiny)


def test_a_compiled_backbone_can_be_copied(tiny, held):
    held.backbone["pretrained"].compile()
    for twin in (copy.deepcopy(held), pickle.loads(pickle.dumps(held))):
        assert_exact(twin, tiny)
        assert twin.backbone["pretrained"]._compiled_call_impl is None


def test_weights_are_read_whole_while_another_thread_converts_them(tiny, held):
    stopped = threading.Event()

    def convert():
        while not stopped.is_set():
            use_matrix_dtype(held, torch.bfloat16)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(convert)
        for _ in range(20):
            state, twin = held.state_dict(), copy.deepcopy(held)
            assert all(torch.equal(state[name], one) for name, one in tiny.state_dict().items())
            assert_exact(twin, tiny)
        stopped.set()
        running.result()


def test_float32_results_are_exact_afterwards(tiny, held):
    x = images(1, 3)
    assert_same(run(held, x), run(tiny, x), tolerance=0)


def test_a_state_dict_can_be_loaded(tiny, held):
    doubled = {name: 2 * value for name, value in tiny.state_dict().items()}
    held.load_state_dict(doubled)
    for name, one in held.state_dict().items():
        assert torch.equal(one, doubled[name])
    use_matrix_dtype(held, torch.bfloat16)
    held.load_state_dict(tiny.state_dict(), assign=True)
    assert dtypes(held) == {torch.float32}
    use_matrix_dtype(held, torch.bfloat16)
    assert dtypes(held) == {torch.float32, torch.bfloat16}
    assert_same(run_low(held, images()), run_low(tiny, images()), tolerance=0)


def test_a_state_dict_keeps_its_values(tiny, held):
    state = held.state_dict()
    use_matrix_dtype(held, torch.bfloat16)
    assert all(torch.equal(state[name], one) for name, one in tiny.state_dict().items())


def test_gradients_are_those_of_float32_and_the_network_then_stays_in_it(tiny, held):
    x = images(1, 2)
    reference = copy.deepcopy(tiny)
    for one in (held, reference):
        one(x)["depth"].sum().backward()
    for found, expected in zip(held.parameters(), reference.parameters(), strict=True):
        assert (found.grad is None) == (expected.grad is None)
        assert found.grad is None or torch.equal(found.grad, expected.grad)
    held.zero_grad(set_to_none=True)
    use_matrix_dtype(held, torch.bfloat16)
    assert dtypes(held) == {torch.float32}  # another graph may refer to the weights
    use_matrix_dtype(copy.deepcopy(held), torch.bfloat16)
    assert_same(run_low(held, x), run_low(tiny, x), tolerance=0)


def test_gradients_reach_images_under_a_frozen_network(tiny, held):
    held.requires_grad_(False)
    run_low(held, images())
    with torch.autocast("cpu", torch.bfloat16):
        held(images())  # no graph is built
    assert dtypes(held) == {torch.float32, torch.bfloat16}
    x = images().requires_grad_()
    held(x)["depth"].sum().backward()
    assert x.grad.isfinite().all()
    assert dtypes(held) == {torch.float32}


def test_a_network_in_training_or_with_gradients_is_not_converted(net):
    net.train()
    use_matrix_dtype(net, torch.bfloat16)
    assert dtypes(net) == {torch.float32}
    net.eval()
    next(net.parameters()).grad = torch.zeros_like(next(net.parameters()))
    use_matrix_dtype(net, torch.bfloat16)
    assert dtypes(net) == {torch.float32}


@pytest.mark.parametrize("edit", ["in_place", "through_data"])
def test_a_change_of_a_converted_matrix_is_not_lost(tiny, held, edit):
    weight = held.backbone["pretrained"].blocks[0].attn.qkv.weight
    with torch.no_grad():
        (weight.data if edit == "through_data" else weight).mul_(2)
    state, original = held.state_dict(), tiny.state_dict()
    name = "backbone.pretrained.blocks.0.attn.qkv.weight"
    assert torch.equal(state[name], 2 * original[name].bfloat16().float())
    assert all(torch.equal(state[other], original[other]) for other in original if other != name)


def test_matrices_change_between_low_dtypes_without_loss(tiny, held):
    x = images(1, 2)
    use_matrix_dtype(held, torch.float16)
    assert dtypes(held) == {torch.float32, torch.float16}
    assert_same(run_low(held, x, torch.float16), run_low(tiny, x, torch.float16), tolerance=0)
    use_matrix_dtype(held, torch.float32)
    assert_exact(held, tiny)


def test_a_move_to_the_same_kind_of_memory_leaves_matrices_converted(held):
    held.to("cpu")
    held.share_memory()
    assert dtypes(held) == {torch.float32, torch.bfloat16}
    assert all(one.is_shared() for one in held.parameters())


def test_an_emptied_network_is_in_float32(tiny, held):
    held.to("meta")
    assert dtypes(held) == {torch.float32}
    held.to_empty(device="cpu")
    held.load_state_dict(tiny.state_dict())
    assert_exact(held, tiny)


def test_a_replaced_layer_is_left_to_autocast(tiny, held):
    block = held.backbone["pretrained"].blocks[0]
    block.attn.proj = copy.deepcopy(tiny.backbone["pretrained"].blocks[0].attn.proj)
    assert_same(run_low(held, images()), run_low(tiny, images()), tolerance=0)
    assert_exact(held.float(), tiny)


def test_weights_made_in_inference_mode_are_left_alone(tiny):
    with torch.inference_mode():
        net = copy.deepcopy(tiny)
        net.load_state_dict({name: value.clone() for name, value in tiny.state_dict().items()}, assign=True)
    use_matrix_dtype(net, torch.bfloat16)
    assert dtypes(net) == {torch.float32}
    assert_same(run_low(net, images()), run_low(tiny, images()), tolerance=0)


def test_conversion_in_inference_mode_serves_gradients(tiny, net):
    with torch.inference_mode():
        use_matrix_dtype(net, torch.bfloat16)
        run_low(net, images())
    net(images())["depth"].sum().backward()
    assert_exact(net, tiny)


def test_a_network_without_a_backbone_is_left_alone():
    other = nn.Linear(2, 2)
    use_matrix_dtype(other, torch.bfloat16)
    assert other.weight.dtype is torch.float32


@pytest.mark.filterwarnings("ignore")  # torch calls tracing deprecated, and warns of decisions made by shape
def test_a_trace_of_a_converted_network_is_in_float32(tiny, held):
    class Depth(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).depth

    x = images(1, 2)
    traced = torch.jit.trace(Depth(held), (torch.zeros_like(x),), check_trace=False)
    with torch.inference_mode():
        torch.testing.assert_close(traced(x), run(tiny, x)["depth"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_compiled_network_takes_converted_matrices(tiny, net):
    x = images(1, 2)
    net.requires_grad_(False)
    use_matrix_dtype(net, torch.bfloat16)
    net.compile()
    # Inductor keeps values in float32 that autocast rounds.
    assert_same(run_low(net, x), run_low(tiny, x), tolerance=5e-2)
    assert dtypes(net) == {torch.float32, torch.bfloat16}
    run(net, x)  # without autocast: compiled code cannot restore float32, and computes in bfloat16
