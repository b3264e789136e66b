"""nnU-Net v2's own predictor with the weights of a network of ours; needs nnunetv2."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from train.checkpoints.checkpoint import CheckpointHeader, save_checkpoint
from train.nnunet.model_folder import export_model


def predict_with_nnunet(
    header: CheckpointHeader,
    network: nn.Module,
    wrapped: Callable[[nn.Module], nn.Module],
    scan: Path,
    folder: Path,
) -> None:
    """Segment a scan from file to file as `nnUNetv2_predict` does, in one process.

    Its preprocessing, its U-Net and its export are its own. Windows overlap by half, and there are
    no mirror images. It resamples scans and probabilities linearly, as ours does.

    Args:
        header: What a checkpoint of the network would say.
        network: Whose weights its own U-Net gets.
        wrapped: Returns the network that is run in place of its U-Net.
        scan: The image file.
        folder: Where the label map goes, under the scan's name.
    """
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    run = folder / "run"
    save_checkpoint(run / "checkpoints" / "best.safetensors", header, network, None)
    model = export_model(run, folder / "results" / "Dataset900_Ours")
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    predictor.network = wrapped(predictor.network)
    predictor.list_of_parameters = [predictor.network.state_dict()]
    output = folder / scan.name.removesuffix(".nii.gz")
    predictor.predict_from_files_sequential([[str(scan)]], [str(output)])
