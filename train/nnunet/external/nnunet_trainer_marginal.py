"""`nnUNetTrainerMarginal`, where nnU-Net looks for it.

nnU-Net imports this file by its bare name, and again for every look-up: a class that has to be
pickled must not live here.
"""

from typing import Any

from train.nnunet.trainer import MarginalTrainer
from train.nnunet.variants import variant


class nnUNetTrainerMarginal(MarginalTrainer):  # noqa: N801
    """nnU-Net's trainer, with cases that label different organs."""


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Return a variant by its name, as `nnUNetTrainerMarginalNoExclusion_250epochs`."""
    if found := variant(name, nnUNetTrainerMarginal):
        return found
    raise AttributeError(name)
