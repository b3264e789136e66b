"""Our trainer in two processes, which share each batch as nnU-Net shares it among GPUs."""

import json
import os
from multiprocessing.context import ForkProcess

import pytest
import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from tests.train.nnunet.conftest import new_trainer

pytest.importorskip("nnunetv2")
NAME = "nnUNetTrainerMarginalBalancedFirstStage_4epochs"
PROCESSES = 2


def _run(rank, folders, rendezvous, out):
    """Train as `nnUNetv2_train -num_gpus 2` does, but on CPUs: nnU-Net takes GPUs for granted."""
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module

    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    module.DDP = lambda network, device_ids: DistributedDataParallel(network)  # noqa: ARG005
    trainer = new_trainer(folders, NAME)
    trainer.device = torch.device("cpu")
    trainer.run_training()
    weights = [p.detach().double().sum().item() for p in trainer.network.parameters()]
    log = trainer.logger.local_logger.my_fantastic_logging
    kept = {key: log[key] for key in ("train_losses", "val_losses", "mean_fg_dice")}
    content = {"weights": weights, "stage": trainer.loaded_stage, "batch": trainer.batch_size}
    (out / f"{rank}.json").write_text(json.dumps({**content, **kept}, default=float))
    destroy_process_group()


def test_two_processes_learn_one_network(nnunet_folders, tmp_path):
    rendezvous = tmp_path / "rendezvous"
    # forked, since a new interpreter imports nnU-Net for seconds
    running = [
        ForkProcess(target=_run, args=(rank, nnunet_folders, rendezvous, tmp_path), daemon=True)
        for rank in range(PROCESSES)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(300)
    assert [process.exitcode for process in running] == [0] * PROCESSES
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in range(PROCESSES))
    assert first == second
    assert len(first["train_losses"]) == 4
    assert (first["batch"], first["stage"]) == (1, False)
