"""Weights from nnU-Net and for it: the same logits on the same patch."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from manifests.ground.errors import CheckpointError, ExportError, TrainingError
from train.checkpoints.checkpoint import NETWORK, CheckpointHeader, save_checkpoint
from train.checkpoints.nnunet_weights import as_checkpoint, load_nnunet, read_nnunet
from train.checkpoints.restoration import restore_network
from train.model import Normalisation
from train.networks.network import NetworkSettings, build_network
from train.nnunet.model_folder import export_model
from train.training.loop import train
from train.training.start import Start

pytest.importorskip("nnunetv2")

LARGEST_DIFFERENCE = 1e-4


@pytest.fixture(scope="module")
def folder(trained) -> Path:
    return Path(trained.output_folder_base)


def patches():
    return torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def as_stored(folder):
    """The model as if its scans had not been turned to RAS."""
    model = read_nnunet(folder)
    return as_checkpoint(replace(model, plans={**model.plans, "image_reader_writer": "NibabelIO"}))


@torch.no_grad()
def test_logits_are_those_of_nnunet_at_every_level(trained, folder):
    checkpoint = as_stored(folder)
    network = build_network(checkpoint.header.network, 3)
    restore_network(checkpoint, network)
    theirs = trained.network
    theirs.decoder.deep_supervision = True
    expected = theirs(patches())
    for ours, level in zip(network.train()(patches()), expected, strict=False):
        assert (ours - level).abs().max() <= LARGEST_DIFFERENCE
    assert expected[0].std() > 0.01


@torch.no_grad()
def test_a_network_that_saw_ras_is_turned(folder):
    """Mirrored kernels give mirrored logits, but for the shift of strided convolutions."""
    stored, turned = as_stored(folder), load_nnunet(f"nnunet:{folder}:0")
    name = f"{NETWORK}unet.input_block.conv1.conv.weight"
    torch.testing.assert_close(turned.tensors[name], stored.tensors[name].flip(-1, -2))
    norm = f"{NETWORK}unet.input_block.norm1.weight"
    torch.testing.assert_close(turned.tensors[norm], stored.tensors[norm])


def test_the_header_has_classes_grid_and_scale(folder):
    header = as_stored(folder).header
    assert header.label_space.names == ("background", "liver", "spleen")
    assert header.spacing_mm == (4.0, 4.0, 4.0)
    assert header.settings.patch_size_zyx == (16, 16, 16)
    plans = json.loads((folder / "plans.json").read_text())
    found = plans["foreground_intensity_properties_per_channel"]["0"]
    assert header.normalisation.mean_hu == found["mean"]


def test_a_training_begins_with_them(folder, manifest, settings, tmp_path):
    changes = {"upsampling_bias": True, "stage_epochs": (0, 1), "deep_supervision": True}
    start = Start(init=Path(f"nnunet:{folder}"))
    with pytest.raises(TrainingError, match="upsampling_bias=true"):
        train(manifest, tmp_path / "without", settings, start=start)
    train(manifest, tmp_path / "run", settings.model_copy(update=changes), start=start)
    taken = json.loads((tmp_path / "run" / "init.json").read_text())
    assert not taken["left"]
    assert taken["known"] == ["background", "liver", "spleen"]


@pytest.fixture
def run(tmp_path, label_space, settings) -> Path:
    """A run's folder with a checkpoint of new weights."""
    header = CheckpointHeader(
        label_space=label_space,
        settings=settings,
        normalisation=Normalisation(-100.0, 400.0, 60.0, 90.0),
        spacing_mm=(4.0, 4.0, 4.0),
        manifest_sha256="",
        losses=(1.0,),
        step=1,
        best_score=None,
    )
    network = build_network(header.network, 3, seed=5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_checkpoint(tmp_path / "run/checkpoints/best.safetensors", header, network, None)
    return tmp_path / "run"


@torch.no_grad()
def test_nnunet_runs_our_network(run, tmp_path):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from train.checkpoints.restoration import load_model

    model = export_model(run, tmp_path / "results" / "Dataset900_Ours")
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    ours = load_model(run).network.eval()(patches())
    theirs = predictor.network.eval()(patches())
    assert (ours - theirs).abs().max() <= LARGEST_DIFFERENCE
    with pytest.raises(ExportError, match="exists"):
        export_model(run, tmp_path / "results" / "Dataset900_Ours")


def test_nnunet_predicts_whole_scans_with_our_network(run, tmp_path, nnunet_folders):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    model = export_model(run, tmp_path / "results" / "Dataset900_Ours")
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    image = next((nnunet_folders / "raw").glob("*/imagesTr/both_0_0000.nii"))
    found = predictor.predict_from_files_sequential([[str(image)]], None)
    assert found[0].shape == (20, 24, 28)


def test_objects_in_a_checkpoint_are_refused(folder, tmp_path):
    copy = tmp_path / "model"
    (copy / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (copy / name).write_text((folder / name).read_text())
    torch.save({"network_weights": {}, "x": Path()}, copy / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(CheckpointError, match="cannot be read as nnU-Net's"):
        read_nnunet(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network_class_name": "x.ResidualEncoderUNet"}, "ResidualEncoderUNet"),
        ({"n_conv_per_stage": [2, 3, 2]}, "3"),
        ({"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}, "kernels and strides"),
    ],
)
def test_networks_that_are_none_of_ours_are_refused(folder, change, words):
    model = read_nnunet(folder)
    architecture = dict(model.configuration["architecture"])
    architecture |= {k: v for k, v in change.items() if k in architecture}
    arguments = {k: v for k, v in change.items() if k not in architecture}
    architecture["arch_kwargs"] = {**architecture["arch_kwargs"], **arguments}
    configuration = {**model.configuration, "architecture": architecture}
    with pytest.raises(CheckpointError, match=words):
        as_checkpoint(replace(model, configuration=configuration))


def test_the_field_of_the_bias_is_in_the_networks_settings():
    small = NetworkSettings((16, 16, 16), (2.0, 2.0, 2.0), (4, 8, 8), upsampling_bias=True)
    names = dict(build_network(small, 2).named_parameters())
    assert "unet.upsamples.0.transp_conv.conv.bias" in names
