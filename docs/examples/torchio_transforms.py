"""Train on partially labelled cases, changed by TorchIO: torchio_transforms.py PREPARED."""

import sys
from pathlib import Path

import torch
import torchio as tio
from torch.utils.data import DataLoader

import marginalia as m

CHANGES = tio.Compose([tio.RandomAffine(degrees=10), tio.RandomBiasField(), tio.RandomNoise()])


def changed(sample: dict) -> dict:
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=sample["image"], affine=sample["affine"]),
        label=tio.LabelMap(tensor=sample["label"], affine=sample["affine"]),
    )
    subject = CHANGES(subject)
    return sample | {"image": subject.image.data, "label": subject.label.data}


def main(prepared: Path) -> None:
    manifest = m.read_manifest(prepared)
    training = [case for case in manifest.cases() if case.split == "train"]
    scale = m.normalisation_of(training)
    patches = m.CaseDataset(
        manifest, training, patch_size_zyx=(16, 32, 32), normalisation=scale, transform=changed
    )
    network = torch.nn.Conv3d(1, len(manifest.label_space), kernel_size=5, padding=2)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    loss = m.MarginalExclusionLoss()
    for batch in DataLoader(patches, batch_size=2, shuffle=True, num_workers=2):
        target = batch["label"][:, 0].long()
        total = loss(network(batch["image"]), target, batch["merged"])
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        print(f"loss {total.item():.3f}")


if __name__ == "__main__":  # DataLoader's worker processes import this file
    main(Path(sys.argv[1]))
