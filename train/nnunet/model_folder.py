"""Our network as a folder of nnU-Net's, from which `nnUNetv2_predict` runs it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manifests.ground.atomic import whole_file, write_text
from manifests.ground.errors import ExportError
from train.checkpoints.checkpoint import NETWORK, Checkpoint, CheckpointHeader
from train.checkpoints.nnunet_weights import FINAL, PLAIN, names_of_tensors
from train.checkpoints.restoration import load_run
from train.networks.network import Level, plan_levels

CONFIGURATION = "3d_fullres"
TRAINER, PLANS = "nnUNetTrainer", "marginaliaPlans"
METHODS = ("marginal", "regular")
# our networks see patients as LPS does; nnU-Net has no reader that turns scans to it
READER = "NibabelIO"


def export_model(run: Path, folder: Path) -> Path:
    """Write a run's best network where nnU-Net looks for results.

    Args:
        run: The run's folder, or a checkpoint file.
        folder: `DatasetNNN_Name`, in nnU-Net's folder of results.

    Returns:
        The folder for `nnUNetv2_predict_from_modelfolder`.

    Raises:
        CheckpointError: There is no such run.
        ExportError: Its network is none of nnU-Net's, or the folder exists.
    """
    checkpoint = load_run(run)
    _refuse_other_networks(checkpoint)
    model = folder / f"{TRAINER}__{PLANS}__{CONFIGURATION}"
    if model.exists():
        msg = f"{model} exists and is left as it is; choose another --out"
        raise ExportError(msg)
    levels = plan_levels(checkpoint.header.network)
    dataset = _dataset(checkpoint.header)
    plans = _plans(checkpoint.header, levels, folder.name)
    write_text(model / "dataset.json", json.dumps(dataset, indent=1) + "\n")
    write_text(model / "plans.json", json.dumps(plans, indent=1) + "\n")
    content = {
        "network_weights": their_weights(checkpoint, len(levels)),
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    with whole_file(model / "fold_0" / FINAL) as temporary:
        torch.save(content, temporary)
    return model


def their_weights(checkpoint: Checkpoint, levels: int) -> dict[str, Tensor]:
    """Return our weights under nnU-Net's names, with those biases that have no effect as 0."""
    found = {n.removeprefix(NETWORK): t for n, t in checkpoint.tensors.items()}
    weights: dict[str, Tensor] = {}
    for ours, theirs in names_of_tensors(checkpoint.header.settings.filters[:levels]):
        if ours in found:
            weights[theirs] = found[ours].clone()
        elif "transpconvs" in theirs:
            weights[theirs] = torch.zeros(weights[theirs.replace("bias", "weight")].shape[1])
    for name in [n for n in weights if n.endswith("conv.weight")]:
        weights[name.replace("weight", "bias")] = torch.zeros(len(weights[name]))
    coarse = [n for n in range(levels - 1) if f"decoder.seg_layers.{n}.weight" not in weights]
    finest = weights[f"decoder.seg_layers.{levels - 2}.weight"]
    for n in coarse:  # which prediction has no use for
        below = weights[f"decoder.transpconvs.{n}.weight"].shape[1]
        weights[f"decoder.seg_layers.{n}.weight"] = torch.zeros(len(finest), below, 1, 1, 1)
        weights[f"decoder.seg_layers.{n}.bias"] = torch.zeros(len(finest))
    return _with_second_names(weights)


def _with_second_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the other names that nnU-Net's modules have for the same tensors."""
    twice = dict(weights)
    for name, tensor in weights.items():
        if ".convs." in name:
            block, _, rest = name.rpartition(".convs.")
            number, kind, what = rest.split(".")
            place = {"conv": 0, "norm": 1}[kind]
            twice[f"{block}.convs.{number}.all_modules.{place}.{what}"] = tensor
    twice |= {f"decoder.{n}": t for n, t in twice.items() if n.startswith("encoder.")}
    return twice


def _refuse_other_networks(checkpoint: Checkpoint) -> None:
    settings = checkpoint.header.settings
    if settings.method not in METHODS or settings.residual:
        kind = "a residual network" if settings.residual else f"of the method {settings.method!r}"
        msg = (
            f"{checkpoint.path} is {kind}: expected a plain network of the method "
            f"{' or '.join(METHODS)}, which nnU-Net has too"
        )
        raise ExportError(msg)


def _dataset(header: CheckpointHeader) -> dict[str, Any]:
    return {
        "channel_names": {"0": "CT"},
        "labels": {name: n for n, name in enumerate(header.label_space.names)},
        "numTraining": 0,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
    }


def _plans(header: CheckpointHeader, levels: Sequence[Level], name: str) -> dict[str, Any]:
    """Return what nnU-Net reads before it predicts."""
    scale = header.normalisation
    properties = {
        "mean": scale.mean_hu,
        "std": scale.std_hu,
        "percentile_00_5": scale.low_hu,
        "percentile_99_5": scale.high_hu,
    }
    return {
        "dataset_name": name,
        "plans_name": PLANS,
        "image_reader_writer": READER,
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": properties},
        "configurations": {CONFIGURATION: _configuration(header, levels)},
    }


def _configuration(header: CheckpointHeader, levels: Sequence[Level]) -> dict[str, Any]:
    resampling: dict[str, Any] = {}
    for what, order, is_seg in (("data", 1, False), ("seg", 1, True), ("probabilities", 1, False)):
        options = {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": False}
        resampling[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{what}_kwargs"] = options
    return {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": header.settings.batch_size,
        "patch_size": list(header.settings.patch_size_zyx),
        "spacing": list(reversed(header.spacing_mm)),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **resampling,
        "batch_dice": False,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{PLAIN}",
            "arch_kwargs": {
                "n_stages": len(levels),
                "features_per_stage": list(header.settings.filters[: len(levels)]),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [list(level.kernel_zyx) for level in levels],
                "strides": [list(level.stride_zyx) for level in levels],
                "n_conv_per_stage": [2] * len(levels),
                "n_conv_per_stage_decoder": [2] * (len(levels) - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
