"""nnU-Net v2's own trainer and loader on given volumes; needs nnunetv2."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from train.networks.network import Level

CONFIGURATION = "3d_fullres"
DATASET = "Dataset001_Benchmark"


def write_cases(
    folder: Path, cases: Sequence[tuple[np.ndarray, np.ndarray]], patch_size: Sequence[int]
) -> None:
    """Write normalised cases as nnU-Net's preprocessing would: compressed, with class locations."""
    from batchgenerators.utilities.file_and_folder_operations import write_pickle
    from nnunetv2.training.dataloading.nnunet_dataset import (
        comp_blosc2_params,
        nnUNetDatasetBlosc2,
    )

    generator = np.random.default_rng(0)
    for number, (image, label) in enumerate(cases):
        blocks, chunks = comp_blosc2_params((1, *image.shape), tuple(patch_size), 4)
        properties = {"class_locations": {}}
        for n in np.unique(label[label > 0]).tolist():
            where = np.argwhere(label[None] == n)
            properties["class_locations"][n] = where[generator.permutation(len(where))[:10_000]]
        name = str(folder / f"case_{number}")
        nnUNetDatasetBlosc2.save_case(
            image[None].astype(np.float32),
            label[None].astype(np.int8),
            properties,
            name,
            chunks=chunks,
            blocks=blocks,
            chunks_seg=chunks,
            blocks_seg=blocks,
        )
        write_pickle(properties, f"{name}.pkl")


def build_trainer(
    folder: Path,
    cases: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    levels: Sequence[Level],
    filters: Sequence[int],
    patch_size: Sequence[int],
    batch_size: int,
    num_classes: int,
    device: str,
    workers: int,
    network: nn.Module | None,
) -> Any:
    """nnU-Net's trainer without deep supervision, initialised.

    Its loss, optimiser, augmentation and loader are its own; so is its U-Net of the given levels,
    unless there is a network to train.
    """
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ["nnUNet_n_proc_DA"] = str(workers)  # noqa: SIM112
    import torch
    from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (  # noqa: E501
        nnUNetTrainerNoDeepSupervision,
    )

    data = folder / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
    data.mkdir(parents=True)
    write_cases(data, cases, patch_size)
    plans = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "continue_training": False,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            CONFIGURATION: {
                "data_identifier": data.name,
                "batch_size": batch_size,
                "patch_size": list(patch_size),
                "spacing": [3.0, 1.5, 1.5],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "batch_dice": False,
                "architecture": _architecture(levels, filters),
            }
        },
    }
    labels = {"background": 0} | {f"organ_{n}": n for n in range(1, num_classes)}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii"}
    trainer = nnUNetTrainerNoDeepSupervision(
        plans, CONFIGURATION, "all", dataset, torch.device(device)
    )
    trainer.initialize()
    if network is not None:
        trainer.network = network.to(device)
        trainer.optimizer, _ = trainer.configure_optimizers()
    trainer.network.train()
    return trainer


def _architecture(levels: Sequence[Level], filters: Sequence[int]) -> dict[str, Any]:
    count = len(levels)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": count,
            "features_per_stage": list(filters[:count]),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(level.kernel_zyx) for level in levels],
            "strides": [list(level.stride_zyx) for level in levels],
            "n_conv_per_stage": [2] * count,
            "n_conv_per_stage_decoder": [2] * (count - 1),
            "conv_bias": False,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
