"""Train MONAI's own UNet on partially labelled cases, and score it: monai_unet.py PREPARED."""

import sys
from pathlib import Path

import SimpleITK as sitk
import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import UNet
from monai.transforms import Compose, RandGaussianNoised, RandZoomd

import marginalia as m

PATCH_ZYX, EPOCHS = (16, 32, 32), 2


def main(prepared: Path) -> None:
    manifest = m.read_manifest(prepared)
    training = [case for case in manifest.cases() if case.split == "train"]
    scale = m.normalisation_of(training)
    patches = m.CaseDataset(manifest, training, patch_size_zyx=PATCH_ZYX, normalisation=scale)
    both = ["image", "label"]
    changes = Compose(
        [RandZoomd(both, mode=["area", "nearest"], prob=0.3), RandGaussianNoised("image")]
    )
    loader = DataLoader(Dataset(patches, changes), batch_size=2, shuffle=True, num_workers=2)
    network = UNet(3, 1, len(manifest.label_space), channels=(8, 16, 32), strides=(2, 2))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    loss = m.MarginalExclusionLoss()
    for _ in range(EPOCHS):
        for batch in loader:
            target = batch["label"][:, 0].long()
            total = loss(network(batch["image"]), target, batch["merged"])
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
    model = m.Model(network, manifest.label_space, scale, training[0].spacing_mm, PATCH_ZYX)
    validation = [case for case in manifest.cases() if case.split == "validation"]
    for case, whole in zip(validation, m.CaseDataset(manifest, validation), strict=True):
        scan = sitk.ReadImage(manifest.path(case.image))
        found = sitk.GetArrayFromImage(m.predict_image(m.Predictor(model, "cpu"), scan))
        truth = whole["label"][0].numpy()
        for score in m.score_case(found, truth, case, manifest.label_space.names):
            print(case.case_id, score.class_name, f"Dice {score.dice:.3f}")


if __name__ == "__main__":  # DataLoader's worker processes import this file
    main(Path(sys.argv[1]))
