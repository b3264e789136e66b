"""Leaf-Dice: a Dice loss of the classes that a case labels on their own.

Source: Fidon et al., "Label-set loss functions for partial supervision", MICCAI 2021.
"""

from train.losses.label_set import leaf_dice
from train.methods.method import LabelSetObjective, Method

METHOD = Method(objective=lambda *_: LabelSetObjective("leaf_dice", leaf_dice))
