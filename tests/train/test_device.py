"""Device: half precision only where it is computed fast."""

import pytest
import torch

from train.device import autocast, uses_bfloat16

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
