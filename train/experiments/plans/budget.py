"""Budget: epochs for a training on some of the datasets, so that all trainings learn as much."""

from collections.abc import Collection, Iterable
from typing import Literal

from manifests.classes.merged import is_full
from manifests.table.case import Case
from train.settings import TrainSettings

Budget = Literal["patches", "epochs"]


def with_budget(
    settings: TrainSettings, cases: Collection[Case], union: Collection[Case], budget: Budget
) -> TrainSettings:
    """Return the settings of a training on the union with the epochs of one on some of its cases.

    With `patches`, both stages have as many patches as they have in a training on the union, to
    the nearest epoch, and as many validations: an epoch has the same number of patches of each
    dataset, so fewer datasets have more epochs. With `epochs`, they have as many epochs. Either
    way, without a fully labelled case the first stage joins the second.

    Source: section 4.4; that all networks see as many patches is ours.
    """
    if not cases:  # the plan will say why
        return settings
    first, second = settings.stage_epochs
    if budget == "epochs":
        epochs = (first, second) if _full(cases) else (0, first + second)
        return settings.model_copy(update={"stage_epochs": epochs})
    wanted = first * (_datasets(_full(union)) or 1), second * _datasets(union)
    full, every = _datasets(_full(cases)), _datasets(cases)
    if not full:
        wanted = 0, sum(wanted)
    epochs = _epochs(wanted[0], full), _epochs(wanted[1], every)
    share = sum(epochs) / sum(settings.stage_epochs)
    between = max(1, round(settings.validation_every * share))
    return settings.model_copy(update={"stage_epochs": epochs, "validation_every": between})


def _epochs(wanted: int, datasets: int) -> int:
    return max(1, round(wanted / datasets)) if wanted else 0


def _full(cases: Iterable[Case]) -> list[Case]:
    return [c for c in cases if is_full(c.merged)]


def _datasets(cases: Iterable[Case]) -> int:
    return len({c.dataset for c in cases})
