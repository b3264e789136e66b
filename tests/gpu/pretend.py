"""Training steps on a CUDA GPU that is not there: run outside CI, by a CUDA build of PyTorch.

    python -m venv cuda && cuda/bin/pip install torch==2.12.0   # several GB; no GPU is needed
    cuda/bin/pip install --constraint constraints.txt '.[test]'
    cuda/bin/python -m tests.gpu.pretend

Fake tensors stand in for those of the GPU; tensors of the CPU are real. For each method it tells
for what the host would wait, and what would lie on the wrong device. The CPU build carries too
little for that: backward passes and copies end with "not linked with support for cuda devices".

PyTorch 2.12 was guessed to run a backward pass on fake CUDA tensors without a driver. It does not
(its engine asks the driver for its contexts), so that the graph is walked here.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.table.manifest import Manifest
from tests.gpu.stand_in import OPTIONS, VARIANTS, HostWaits, StandIn
from tests.train.conftest import CASES, write_case
from train.settings import resolve

CUDA = torch.device("cuda:0")
GIB = 2**30
PINNED = (torch.ops.aten.pin_memory.default, torch.ops.aten._pin_memory.default)


class OnlyCudaIsFake(TorchDispatchMode):
    """Compute with the CPU's tensors, as the host does to decide what it asks of the GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = dict(kwargs or {})
        if func in PINNED:  # asks the driver
            return args[0]
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        leaves = tree_leaves((args, kwargs))
        fake = any(isinstance(leaf, FakeTensor) for leaf in leaves)
        if fake or any(isinstance(x, torch.device) and x.type == "cuda" for x in leaves):
            return func(*args, **kwargs)
        with unset_fake_temporarily():
            return func(*args, **kwargs)


def backward(loss: Tensor) -> None:
    """Do what `Tensor.backward` does, without asking a driver for streams."""
    assert loss.grad_fn is not None
    order, seen = [], set()

    def visit(node: Any) -> None:
        stack = [(node, iter(node.next_functions))]
        seen.add(node)
        while stack:
            top, following = stack[-1]
            step = next((n for n, _ in following if n is not None and n not in seen), None)
            if step is None:
                order.append(top)
                stack.pop()
            else:
                seen.add(step)
                stack.append((step, iter(step.next_functions)))

    visit(loss.grad_fn)
    waiting: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in reversed(order):
        given = waiting.pop(node, {})
        if hasattr(node, "variable"):
            variable, gradient = node.variable, given.get(0)
            if gradient is not None:
                assert (gradient.device, gradient.shape) == (variable.device, variable.shape)
                with torch.no_grad():
                    old = variable.grad
                    variable.grad = gradient.detach() if old is None else old + gradient
            continue
        inputs = [given.get(n) for n in range(len(node._input_metadata))]
        with torch.no_grad():
            found = _call(node, inputs)
        for (following, place), gradient in zip(node.next_functions, found, strict=False):
            if following is None or gradient is None:
                continue
            slots = waiting.setdefault(following, {})
            with torch.no_grad():
                # of a value that was broadcast
                gradient = gradient.sum_to_size(following._input_metadata[place].shape)
                slots[place] = slots[place] + gradient if place in slots else gradient


def _call(node: Any, gradients: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients by a node's inputs."""
    if callable(node):
        found = node(*gradients)
    else:  # a function in Python, which gets zeros where there is no gradient
        metadata = node._input_metadata
        zeros = [torch.zeros(m.shape, dtype=m.dtype, device=m.device) for m in metadata]
        found = node.apply(*(z if g is None else g for z, g in zip(zeros, gradients, strict=True)))
    return found if isinstance(found, tuple) else (found,)


def move(module: nn.Module, device: torch.device, **_layout: Any) -> nn.Module:
    """Do what `Module.to` does, which PyTorch refuses for tensors that a fake one stands in for."""
    for part in module.modules():
        for name, weights in part.named_parameters(recurse=False):
            moved = nn.Parameter(weights.detach().to(device), requires_grad=weights.requires_grad)
            part.register_parameter(name, moved)
        for name, values in part.named_buffers(recurse=False):
            part.register_buffer(name, values.to(device))
    return module


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within the block there is a GPU, whose tensors have no numbers."""
    with ExitStack() as stack:
        for name, value in {
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda *_, **__: True,
            "torch.cuda.mem_get_info": lambda *_: (64 * GIB, 80 * GIB),
            "torch.nn.Module.to": move,
            # threads, which know no fake tensors, would ask the driver for pinned memory
            "train.training.batches._pinned_copy": lambda voxels, _device: voxels.clone(),
            "torch.Tensor.backward": lambda loss, *_, **__: backward(loss),
        }.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(OnlyCudaIsFake())
        yield


def main() -> int:
    """Print what each training would wait for; return 1 if there is any."""
    if torch.version.cuda is None:
        sys.stdout.write("expected a CUDA build of PyTorch, got one for the CPU; see the head\n")
        return 2
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        organs = [
            LabelClass(name=n, structures=(n,), colour="#aa0000") for n in ("liver", "spleen")
        ]
        cases = [
            write_case(folder, f"{dataset}/{number}", merged=merged, split=split, seed=number)
            for number, (dataset, merged, split) in enumerate(CASES)
        ]
        space = LabelSpace(name="two", classes=tuple(organs))
        manifest = Manifest.of(cases, space, folder=folder)
        faults = 0
        for words in VARIANTS:
            settings = resolve("tiny", [*OPTIONS, *words])
            with pretended_gpu(), HostWaits(CUDA) as waits:
                stand_in = StandIn(manifest, settings, CUDA)
                waits.found.clear()  # of the start, which may wait
                for batch in stand_in.batches():
                    assert batch.images.device == batch.target.device == CUDA
                    assert stand_in.step(batch) == 1
            faults += len(waits.found)
            found = "; ".join(f"{n} times {what}" for what, n in Counter(waits.found).items())
            sys.stdout.write(f"{' '.join(words):70}{found or 'waits for nothing'}\n")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
