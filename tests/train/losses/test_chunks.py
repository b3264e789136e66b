"""Host memory: tensors like PyTorch's own."""

import pytest
import torch

from train.losses.chunks import empty_like, keep_freed_memory


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_tensor_like_pytorchs(dtype):
    plain = torch.randn(2, 3, 4, 5, 6).to(dtype)
    for tensor in (plain, plain.contiguous(memory_format=torch.channels_last_3d), plain[:, :1]):
        like, expected = empty_like(tensor), torch.empty_like(tensor)
        assert (like.dtype, like.shape, like.stride()) == (
            expected.dtype,
            expected.shape,
            expected.stride(),
        )
        assert like.data_ptr() % 64 == 0
        assert torch.equal(like.copy_(tensor), tensor)


def test_keeping_memory_changes_no_value():
    before = torch.arange(5)
    keep_freed_memory()
    assert torch.equal(before, torch.arange(5))
