"""Train MONAI's UNet from an exported datalist, without marginalia's files: monai_datalist.py JSON.

`marginalia export monai PREPARED --out JSON` writes the list.
"""

import json
import sys
from pathlib import Path

import torch
from monai.data import DataLoader, Dataset, load_decathlon_datalist
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandCropByLabelClassesd,
    RandFlipd,
    ScaleIntensityRanged,
    SpatialPadd,
    ToTensord,
)

from marginalia import MarginalExclusionLoss

PATCH_XYZ, EPOCHS, FOLD = (32, 32, 16), 2, 0


def main(path: Path) -> None:
    classes = len(json.loads(path.read_text())["labels"])
    cases = load_decathlon_datalist(str(path), data_list_key="training", base_dir=str(path.parent))
    both = ["image", "label"]
    transforms = Compose(
        [
            LoadImaged(both),
            EnsureChannelFirstd(both),
            ScaleIntensityRanged("image", -200, 400, 0, 1, clip=True),
            SpatialPadd("image", PATCH_XYZ),
            SpatialPadd("label", PATCH_XYZ, constant_values=255),  # 255 counts in no loss
            RandCropByLabelClassesd(both, "label", PATCH_XYZ, num_classes=classes),
            RandFlipd(both, prob=0.5, spatial_axis=1),  # not axis 0: left would become right
            ToTensord("merged", dtype=torch.int64),
        ]
    )
    training = Dataset([case for case in cases if case["fold"] != FOLD], transforms)
    loader = DataLoader(training, batch_size=2, shuffle=True)
    network = UNet(3, 1, classes, channels=(8, 16, 32), strides=(2, 2))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    loss = MarginalExclusionLoss()
    for _ in range(EPOCHS):
        for batch in loader:
            total = loss(network(batch["image"]), batch["label"][:, 0].long(), batch["merged"])
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            print(f"{len(batch['merged'])} patches, loss {total.item():.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
