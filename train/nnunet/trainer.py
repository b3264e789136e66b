"""nnU-Net's trainer for cases that label different organs.

Only what has to be is overridden, each in the hook that nnU-Net has for it. Written for nnU-Net
2.8.1. What nnU-Net does outside the trainer still takes a class that nobody labelled for an absent
one: adding up folds, `nnUNetv2_find_best_configuration` and its postprocessing.
"""
# nnU-Net's types are guessed from its code, where much is None until it is initialised
# pyright: reportIncompatibleMethodOverride=false, reportOptionalCall=false
# pyright: reportArgumentType=false, reportReturnType=false, reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false, reportOptionalMemberAccess=false

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.remove_label import (  # pyright: ignore[reportMissingImports]
    RemoveLabelTransform,
)
from nnunetv2.paths import nnUNet_raw  # pyright: ignore[reportMissingImports]
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import (  # pyright: ignore[reportMissingImports]
    nnUNetTrainer,
)
from torch import Tensor

from manifests.exports.document import as_text
from manifests.exports.nnunet.write import DATASET, SPLITS
from manifests.ground.atomic import write_text
from manifests.ground.errors import TrainingError
from train.nnunet.annotations import Group, Merged, read_annotations, refuse_stale
from train.nnunet.cases import AnnotatedCases, balanced
from train.nnunet.first_stage import in_first_stage
from train.nnunet.loss import PartialLabelLoss
from train.nnunet.online_dice import count_voxels
from train.nnunet.summary import annotated_summary

X = 2  # the axis from side to side in the arrays [z, y, x] that nnU-Net's readers give
AFTER_VALIDATION = (
    "These numbers are of what each case annotates. nnUNetv2_accumulate_crossval_results, "
    "nnUNetv2_find_best_configuration and postprocessing compute their own, in which an organ "
    "that nobody labelled counts as absent: score the predictions with `marginalia evaluate`."
)


class MarginalTrainer(nnUNetTrainer):
    """nnU-Net's trainer, with marginal and exclusion losses.

    Attributes:
        exclusion: Whether partly labelled samples have exclusion losses.
        balanced: Whether every dataset is drawn from equally often, whatever its size.
        first_stage: Whether the first epochs take fully labelled cases only, until every class is
            learnt.
        epochs: Their number; None is nnU-Net's.
    """

    exclusion: bool = True
    balanced: bool = False
    first_stage: bool = False
    epochs: int | None = None

    # nnU-Net reads its arguments by these names
    def __init__(  # noqa: D107
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        if self.label_manager.has_regions:
            msg = "dataset.json has regions: expected one value for each class, as exported"
            raise TrainingError(msg)
        self.num_epochs = self.epochs or self.num_epochs
        classes = self.label_manager.num_segmentation_heads
        self.annotations = read_annotations(dataset_json, classes=classes)
        self.entries: tuple[Group, ...] = (
            *((n,) for n in range(1, classes)),
            *self.annotations.fused,
        )
        self.partial_loss: PartialLabelLoss | None = None
        self.loaded_stage: bool | None = None
        self._guard_mean_dice()

    # What is drawn.

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return nnU-Net's split, which is that of the export unless the user made another."""
        splits = Path(self.preprocessed_dataset_folder_base) / SPLITS
        if not splits.exists():
            write_text(splits, as_text(self.annotations.folds))
        if self.fold != "all" and self.fold >= (folds := _count(splits)):
            # nnU-Net would split at random, and part patients
            msg = f"fold {self.fold}: expected one of the {folds} in {splits}, from 0 on"
            raise TrainingError(msg)
        split: Any = super().do_split()
        training, validation = map(list, split)
        if unknown := {*training, *validation} - self.annotations.merged.keys():
            msg = (
                f"{splits} or the folder of cases names {sorted(unknown)[0]!r} and "
                f"{len(unknown) - 1} more of which dataset.json does not say who labelled what; "
                f"export again, and run nnUNetv2_plan_and_preprocess"
            )
            raise TrainingError(msg)
        return training, validation

    def get_tr_and_val_datasets(self) -> tuple[AnnotatedCases, AnnotatedCases]:
        """Return the cases to draw from, now."""
        training, validation = super().get_tr_and_val_datasets()
        names = list(training.identifiers)
        if self.is_cascaded:
            folder = Path(self.folder_with_segs_from_previous_stage)
            _refuse_unpredicted([*names, *validation.identifiers], folder)
        self.loaded_stage = self._in_first_stage()
        if self.loaded_stage:
            names = [name for name in names if name in self.annotations.full]
            if not names:
                msg = "no training case is fully labelled: train without the first stage"
                raise TrainingError(msg)
        if self.balanced:
            names = balanced(names, self.annotations.dataset)
        merged = self.annotations.merged
        return (
            AnnotatedCases(training, merged, names),
            AnnotatedCases(validation, merged, list(validation.identifiers)),
        )

    def on_train_start(self) -> None:
        """Refuse annotations that are out of date, and go on as nnU-Net does."""
        used = Path(self.preprocessed_dataset_folder_base) / DATASET
        if nnUNet_raw.is_set():
            raw = Path(nnUNet_raw.get()) / self.plans_manager.dataset_name / DATASET
            refuse_stale(self.annotations, raw, used)
        super().on_train_start()

    def on_train_epoch_start(self) -> None:
        """Load all cases when the first stage is over."""
        if self.loaded_stage != self._in_first_stage():
            for loader in (self.dataloader_train, self.dataloader_val):
                getattr(loader, "_finish", lambda: None)()
            self.dataloader_train, self.dataloader_val = self.get_dataloaders()
        super().on_train_epoch_start()

    def _in_first_stage(self) -> bool:
        if not self.first_stage:
            return False
        dice = self.logger.get_value("dice_per_class_or_region", step=None)
        return in_first_stage(self.current_epoch, self.num_epochs, dice)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:  # noqa: N802
        """Mirror along no axis that makes a left organ a right one, in training or prediction."""
        *rest, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if self.annotations.sided:
            sides = self.plans_manager.transpose_forward.index(X)
            # a patch of two axes is a slice along the first of the three
            sides -= 3 - len(self.configuration_manager.patch_size)
            axes = tuple(axis for axis in axes if axis != sides)
            self.inference_allowed_mirroring_axes = axes
        return (*rest, axes)

    @staticmethod
    def get_training_transforms(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return nnU-Net's transforms, without the one that makes padding background."""
        return _keep_padding(nnUNetTrainer.get_training_transforms(*arguments, **options))

    @staticmethod
    def get_validation_transforms(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return nnU-Net's transforms, without the one that makes padding background."""
        return _keep_padding(nnUNetTrainer.get_validation_transforms(*arguments, **options))

    # What is learnt.

    def _build_loss(self) -> Any:  # noqa: ANN401
        """Return our loss, with nnU-Net's weights of the levels."""
        theirs = super()._build_loss()
        self.partial_loss = PartialLabelLoss(
            self.label_manager.num_segmentation_heads,
            exclusion=self.exclusion,
            batch_dice=self.configuration_manager.batch_dice,
            level_weights=theirs.weight_factors if self.enable_deep_supervision else (1.0,),
        )
        return self.partial_loss

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Learn from a batch, knowing what its cases annotate."""
        self._set_merged(batch)
        return super().train_step(batch)

    def _set_merged(self, batch: dict[str, Any]) -> tuple[Merged, ...]:
        merged = tuple(self.annotations.merged[name] for name in batch["keys"])
        if self.partial_loss is not None:
            self.partial_loss.merged = merged
        return merged

    # What is measured.

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the loss of a batch, and the voxels of what its cases annotate."""
        merged = self._set_merged(batch)
        data, target = (self._to_device(batch[name]) for name in ("data", "target"))
        cuda = self.device.type == "cuda"
        with torch.autocast(self.device.type, enabled=True) if cuda else nullcontext():
            output = self.network(data)
            loss = self.loss(output, target)
        if self.enable_deep_supervision:
            output, target = output[0], target[0]
        counts = count_voxels(output.argmax(1), target[:, 0], merged, self.entries)
        return {"loss": loss.detach().cpu().numpy(), **counts}

    def _to_device(self, part: Tensor | Sequence[Tensor]) -> Any:  # noqa: ANN401
        if isinstance(part, Tensor):
            return part.to(self.device, non_blocking=True)
        return [tensor.to(self.device, non_blocking=True) for tensor in part]

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict and score the validation cases, on what each annotates."""
        with annotated_summary(self.annotations.merged):
            super().perform_actual_validation(save_probabilities)
        self.print_to_log_file(AFTER_VALIDATION)

    def _guard_mean_dice(self) -> None:
        """Keep the moving average a number after an epoch in which nothing was annotated."""
        log = self.logger.log

        def log_number(key: str, value: Any, step: int) -> None:  # noqa: ANN401
            if key == "mean_fg_dice" and np.isnan(value):
                before = self.logger.get_value("ema_fg_dice", step=None)
                value = before[-1] if before else 0.0
            log(key, value, step)

        self.logger.log = log_number

    def save_checkpoint(self, filename: str) -> None:
        """Save nnU-Net's checkpoint under the name of its own trainer.

        The network is its own, so that whoever gets the folder or the zip can predict without
        marginalia.
        """
        super().save_checkpoint(filename)
        if self.local_rank == 0 and not self.disable_checkpointing:
            checkpoint = torch.load(filename, map_location="cpu", weights_only=False)  # just saved
            torch.save({**checkpoint, "trainer_name": nnUNetTrainer.__name__}, filename)


def _keep_padding(transforms: Any) -> Any:  # noqa: ANN401
    """Drop the transform that makes -1 background; labels of the previous stage keep it."""
    for n, transform in enumerate(transforms.transforms):
        if isinstance(transform, RemoveLabelTransform):
            # channel 0 holds the labels; a cascade's predictions come behind it
            transforms.transforms[n] = _OfPreviousStage(transform.label_value, transform.set_to)
    return transforms


class _OfPreviousStage(RemoveLabelTransform):
    def _apply_to_segmentation(self, segmentation: Tensor, **params: Any) -> Tensor:  # noqa: ANN401
        super()._apply_to_segmentation(segmentation[1:], **params)
        return segmentation


def _refuse_unpredicted(names: Sequence[str], folder: Path) -> None:
    """Refuse a cascade's second stage if the first did not predict all cases."""
    if missing := [name for name in names if not any(folder.glob(f"{name}.*"))]:
        msg = (
            f"the second stage of a cascade needs predictions of all cases from the first: "
            f"{len(missing)} of {len(names)} are not in {folder}, as {missing[0]!r}; train the "
            f"first stage in every fold, with this trainer; if the folds do not hold every case "
            f"for validation once, export with `--folds 5`"
        )
        raise TrainingError(msg)


def _count(splits: Path) -> int:
    return len(json.loads(splits.read_text(encoding="utf-8")))
