"""Outcome of a training in words: what was not learnt, and what to try."""

from collections.abc import Mapping, Sequence

import pandas as pd

from train.checkpoints.checkpoint import CheckpointHeader
from train.planning.plan import TrainingPlan, annotated_counts
from train.planning.schedule import means_by_key
from train.training.log import DICE

NOT_LEARNT = 0.01  # Dice that a class never reached


def outcome_remarks(
    plan: TrainingPlan, header: CheckpointHeader, log: pd.DataFrame
) -> tuple[str, ...]:
    """Say whether the first stage was prolonged, and which classes were not learnt.

    `log` has a row for each epoch, as `read_log` returns it.
    """
    return (*_prolonged(header), *_not_learnt(plan, _dice_of_classes(log)))


def _prolonged(header: CheckpointHeader) -> list[str]:
    added, planned = header.added_epochs, header.settings.stage_epochs[0]
    if not added:
        return []
    least = header.settings.first_stage_dice
    words = (
        f"the first stage took {planned + added} epochs where {planned} were planned, since not "
        f"every class had a validation Dice of {least:g} before"
    )
    if added >= planned:
        words += (
            f"; this is the limit, and it may be that a class did not reach it: plan a longer "
            f"first stage in another folder (--out), as in --set "
            f"stage_epochs={2 * planned},{header.settings.stage_epochs[1]}"
        )
    return [words]


def _not_learnt(plan: TrainingPlan, dice: Mapping[str, Sequence[float]]) -> list[str]:
    if not dice:
        return []
    trained = [name for name, n in annotated_counts(plan.training, plan.label_space).items() if n]
    never = [name for name in trained if name in dice and max(dice[name]) < NOT_LEARNT]
    lost = [n for n in trained if n in dice and n not in never and dice[n][-1] < NOT_LEARNT]
    unseen = [name for name in trained if name not in dice]
    first, second = plan.settings.stage_epochs
    longer = f"stage_epochs={2 * first},{2 * second}"
    remarks = {
        f"not learnt: {', '.join(never)}: the validation Dice was 0.00 to the end. Look at the "
        f"labels (`marginalia inspect`, the pictures in TensorBoard), then try a longer training "
        f"(--set {longer}), more patches of rare classes (--set balance=class), or larger patches "
        f"or a coarser spacing, so that a patch shows more of the body, each in another folder "
        f"(--out)": never,
        f"forgotten: {', '.join(lost)}: the validation Dice was above 0 before and is 0.00 at the "
        f"end; try a lower learning rate, as in --set "
        f"learning_rate={plan.settings.learning_rate / 10:g}, in another folder (--out)": lost,
        f"no validation case has {', '.join(unseen)}: whether it was learnt is not known; "
        f"hold out more cases with `marginalia split --validation`": unseen,
    }
    return [words for words, holds in remarks.items() if holds]


def _dice_of_classes(log: pd.DataFrame) -> dict[str, list[float]]:
    """Return the mean Dice of each class over datasets, by validation."""
    columns = [name for name in log.columns if name.startswith(DICE)]
    found: dict[str, list[float]] = {}
    for _, row in log[columns].dropna(how="all").iterrows():
        found_now = row.dropna().items()
        cells = [(str(name).rpartition("/")[2], float(value)) for name, value in found_now]
        for name, mean in means_by_key(cells).items():
            found.setdefault(name, []).append(mean)
    return found
