"""View of the settings: each with its value in the presets, and what it means."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from manifests.views.table_style import folded, new_table, unbroken
from train.augmentation.settings import AUGMENTATIONS, AugmentationSettings
from train.settings import PRESETS, TrainSettings, require_preset

_ATTRIBUTE = re.compile(r"^    (\w+): ((?:.+\n?)(?:        .+\n?)*)", re.MULTILINE)
_PART = "augmentation."


def settings_view(preset: str = "") -> Table:
    """Show the settings of a preset, or their values in all of them if none is named.

    Raises:
        TrainingError: There is no such preset.
    """
    shown = [require_preset(preset)] if preset else [*PRESETS]
    values = {name: setting_texts(PRESETS[name]) for name in shown}
    heading = f"preset {preset}" if preset else "in the presets"
    columns = [*unbroken("setting"), *folded(heading, "meaning")]
    rows = [
        (key, _of_presets({name: texts[key] for name, texts in values.items()}), meaning)
        for key, meaning in setting_meanings().items()
    ]
    return new_table("Settings, for --set KEY=VALUE", columns, rows)


def setting_texts(settings: TrainSettings) -> dict[str, str]:
    """Return each setting as `--set` takes it, those of the augmentation as keys of their own."""
    found = {key: _text(getattr(settings, key)) for key in TrainSettings.model_fields}
    augmentation = settings.augmentation
    names = [name for name, named in AUGMENTATIONS.items() if named == augmentation]
    found["augmentation"] = names[0] if names else "its own"
    parts = AugmentationSettings.model_fields
    return found | {f"{_PART}{key}": _text(getattr(augmentation, key)) for key in parts}


def setting_meanings() -> dict[str, str]:
    """Return what each setting means, by its key."""
    parts = _meanings(AugmentationSettings)
    return _meanings(TrainSettings) | {f"{_PART}{key}": text for key, text in parts.items()}


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the descriptions of a model's fields, which its docstring has."""
    _, _, attributes = inspect.getdoc(model).partition("Attributes:\n")  # pyright: ignore[reportOptionalMemberAccess]
    return {key: " ".join(text.split()) for key, text in _ATTRIBUTE.findall(attributes)}


def _of_presets(texts: Mapping[str, str]) -> Text:
    """Return one line for each value and the presets that have it; one value is for all."""
    by_value: dict[str, list[str]] = {}
    for name, text in texts.items():
        by_value.setdefault(text, []).append(name)
    if len(by_value) == 1:
        return Text(next(iter(by_value)))
    return Text("\n".join(f"{value} ({', '.join(names)})" for value, names in by_value.items()))


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, tuple):
        return ",".join(map(_text, value)) or "[]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
