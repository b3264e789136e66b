"""Device: half precision only where it is fast, and PyTorch's settings are the caller's."""

import subprocess
import sys

import pytest
import torch

from train.device import autocast, full_float32, on_device, timed_convolutions, uses_bfloat16
from train.settings import PRESETS
from train.training.events import StepDone
from train.training.loop import train

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False])
def capable(request, monkeypatch):
    found = {"avx512_bf16": request.param} if request.param else {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    return request.param


def test_a_cpu_computes_in_bfloat16_if_it_has_instructions_for_it(capable):
    assert uses_bfloat16("bfloat16", CPU) == capable
    with autocast("bfloat16", CPU):
        found = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert found == (torch.bfloat16 if capable else torch.float32)


@pytest.mark.usefixtures("capable")
def test_float32_is_float32_everywhere():
    assert not uses_bfloat16("float32", CPU)
    assert not uses_bfloat16("float32", torch.device("cuda"))
    with autocast("float32", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.usefixtures("capable")
def test_a_gpu_always_computes_in_bfloat16():
    assert uses_bfloat16("bfloat16", torch.device("cuda"))


@pytest.fixture
def chosen():
    """A caller's choices, none of which is PyTorch's default."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision()
    cudnn.deterministic = True
    torch.set_float32_matmul_precision("high")
    yield {"deterministic": True, "benchmark": False, "allow_tf32": True, "matmul": "high"}
    cudnn.benchmark, cudnn.deterministic = before[:2]
    torch.set_float32_matmul_precision(before[2])


def choices():
    cudnn = torch.backends.cudnn
    names = ("deterministic", "benchmark", "allow_tf32")
    matmul = torch.get_float32_matmul_precision()
    return {**{name: getattr(cudnn, name) for name in names}, "matmul": matmul}


def test_to_time_convolutions_changes_nothing_else(chosen):
    with timed_convolutions():
        assert choices() == {**chosen, "benchmark": True}
    assert choices() == chosen


def test_float32_is_not_rounded_to_tf32_and_half_precision_is_left_alone(chosen):
    with full_float32("float32"):
        assert choices() == {**chosen, "allow_tf32": False, "matmul": "highest"}
    with full_float32("bfloat16"):
        assert choices() == chosen
    assert choices() == chosen


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_leaves_what_the_caller_chose(manifest, settings, tmp_path, chosen, precision):
    once = settings.model_copy(update={"stage_epochs": (0, 1), "precision": precision})
    within = []

    def look(event):
        if isinstance(event, StepDone):
            within.append(choices())

    train(manifest, tmp_path, once, on_event=look)
    exact = {"allow_tf32": False, "matmul": "highest"} if precision == "float32" else {}
    assert within
    assert all(there == {**chosen, **exact, "benchmark": True} for there in within)
    assert choices() == chosen


def test_the_papers_network_is_of_float32():
    assert PRESETS["paper"].precision == "float32"


NEWER_NAMES = """
import torch
from train.device import full_float32
backends = torch.backends
backends.fp32_precision = "tf32"
places = backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul
with full_float32("float32"):
    print(*(place.fp32_precision for place in places))
print(*(place.fp32_precision for place in places))
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="PyTorch before 2.9")
def test_a_caller_may_use_the_newer_names_of_the_same_settings():
    words = [sys.executable, "-c", NEWER_NAMES]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split() == ["ieee"] * 4 + ["tf32"] * 4


def test_a_tensor_stays_where_it_is_asked_for():
    values = torch.arange(3)
    assert on_device(values, CPU) is values
    assert on_device(values, torch.device("meta")).device.type == "meta"
