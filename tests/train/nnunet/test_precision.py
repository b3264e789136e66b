"""Our loss in the surroundings that nnU-Net has on a GPU: autocast, scaled gradients, compilation.

On a CPU nnU-Net uses none of them, so its step is made here as it is on a GPU.
"""

import numpy as np
import pytest
import torch

from tests.train.nnunet.conftest import new_trainer

PARTLY = "liver_only"


@pytest.fixture(scope="module")
def trainer_and_batch(nnunet_folders):
    """A trainer, and a batch with a fully and a partly labelled sample."""
    np.random.seed(0)  # noqa: NPY002 -- nnU-Net's own generator
    trainer = new_trainer(nnunet_folders)
    trainer.initialize()
    loader, _ = trainer.get_dataloaders()
    batch = next(loader)
    while len({name.startswith(PARTLY) for name in batch["keys"]}) == 1:
        batch = next(loader)
    return trainer, batch


def gradient_of(trainer, batch, network, scale=1.0, **autocast):
    """Loss, and the gradient of all weights as one vector, divided by the scale."""
    trainer.partial_loss.merged = tuple(trainer.annotations.merged[n] for n in batch["keys"])
    trainer.optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", **autocast):
        loss = trainer.loss(network(batch["data"]), batch["target"])
    (loss * scale).backward()
    # the deepest level's head counts with weight 0: its gradient is missing, or 0 if compiled
    weights = trainer.network.parameters()
    parts = [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in weights]
    return loss.item(), torch.cat(parts) / scale


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, 1.0), (torch.float16, 65536.0)])
def test_reduced_precision_has_the_gradient_of_single_precision(trainer_and_batch, dtype, scale):
    trainer, batch = trainer_and_batch
    expected, gradient = gradient_of(trainer, batch, trainer.network, enabled=False)
    loss, found = gradient_of(trainer, batch, trainer.network, scale, dtype=dtype)
    assert loss == pytest.approx(expected, rel=0.02)
    assert torch.nn.functional.cosine_similarity(found, gradient, 0) > 0.99


def test_a_scaler_changes_no_step_and_leaves_out_one_that_overflows(trainer_and_batch):
    trainer, batch = trainer_and_batch
    start = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    steps = {}
    for scale in (None, 2.0**16, 2.0**120):
        trainer.network.load_state_dict(start)
        trainer.optimizer, _ = trainer.configure_optimizers()
        if scale:
            trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        with torch.autocast("cpu", dtype=torch.float16, enabled=bool(scale)):
            trainer.train_step(batch)
        after = trainer.network.state_dict()
        steps[scale] = torch.cat([(after[name] - start[name]).flatten() for name in start])
    scaled = trainer.grad_scaler.get_scale()
    trainer.grad_scaler = None
    trainer.network.load_state_dict(start)
    assert torch.nn.functional.cosine_similarity(steps[2.0**16], steps[None], 0) > 0.99
    assert (steps[2.0**120] == 0).all()
    assert scaled == 2.0**119


def test_a_compiled_network_has_the_same_gradient(trainer_and_batch):
    trainer, batch = trainer_and_batch
    expected, gradient = gradient_of(trainer, batch, trainer.network, enabled=False)
    # traced as on a GPU, but run by PyTorch: no C++ compiler is needed
    compiled = torch.compile(trainer.network, backend="aot_eager")
    loss, found = gradient_of(trainer, batch, compiled, enabled=False)
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)
