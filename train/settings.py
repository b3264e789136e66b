"""Settings of a training, and the presets: one aligned table, one column a preset."""

import json
import math
from collections.abc import Iterable
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from manifests.ground.errors import TrainingError, explain
from manifests.ground.near_names import did_you_mean
from manifests.ground.word_lists import split_list
from train.augmentation.settings import Augmentation, AugmentationSettings
from train.device import Precision
from train.losses.options import TERMS, ClassReduction, DiceGroups, Term

Size = Annotated[int, Field(ge=4, le=1024)]
Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
MethodName = Literal[
    "marginal",
    "regular",
    "leaf_dice",
    "pann",
    "pipo_fan",
    "pipo_fan_3d",
    "conditional",
    "dodnet",
    "masked_sigmoid",
]

# These decide where and how fast a training runs, not its result: a run can resume with others.
EXECUTION_SETTINGS = frozenset({"accumulation", "compile", "device", "residence", "workers"})


class TrainSettings(BaseModel):
    """All settings of a training, except the manifest.

    Attributes:
        patch_size_zyx: Voxels of a training patch, and of the window in prediction.
        fit_patch: Choose the patch size by the cases' size and `memory_gib`, in place of the size
            above.
        memory_gib: Memory that a training step with a fitted patch may use on one device.
        filters: Channels of the network by level, from full resolution; small patches use fewer.
        residual: Residual blocks in the network's encoder and decoder.
        deep_supervision: Add the loss at the coarser levels of the decoder, with smaller weights;
            for the methods `marginal` and `regular`.
        upsampling_bias: Give transposed convolutions a bias, as nnU-Net's have; needed to begin
            with its weights.
        batch_size: Patches in a batch, over all processes.
        accumulation: Number of parts in which a process computes its part of a batch, at most
            `batch_size`: the same result with less memory.
        patches_per_dataset: Patches drawn from each dataset in an epoch, whatever its size.
        stage_epochs: Epochs of the first stage (fully labelled cases only) and the second (all).
        first_stage_dice: Validation Dice of every class that ends the first stage: it continues
            until then, for up to twice its epochs. 0 never extends it.
        optimiser: `adam`, or `sgd` with Nesterov momentum.
        learning_rate: In the first epoch.
        momentum: Of `sgd`.
        weight_decay: L2 penalty on the weights.
        gradient_norm: Norm to which longer gradients are clipped; none does not clip.
        ema_decay: Decay of an exponential moving average of the weights, which then makes the
            predictions; none keeps no average.
        schedule: `poly` decreases to 0 over all epochs; `plateau` by 20 % when the loss stalls.
        method: `marginal` uses what each case labels; `regular` treats unlabelled organs as
            background. The others are methods of other papers (docs/explanation/rivals.md).
        marginal_weight: Weight of the marginal losses, which are the regular losses on fully
            labelled cases. With 0, these cases keep their regular losses; the others have none.
        exclusion_weight: Weight of the exclusion losses, for partially labelled cases only.
        exclusion_ramp: Fraction of the second stage in which `exclusion_weight` rises from near 0,
            in equal steps from epoch to epoch; 0 has it whole from the beginning.
        pseudo_weight: Weight of the losses on labels that `marginalia complete` wrote, beside those
            on the annotator's; for the method `marginal`. 0 does not read them.
        terms: The losses to use: marginal and exclusion, each as cross-entropy and as Dice.
        class_reduction: Whether losses are summed over classes, as in the paper, or averaged.
        dice_groups: Groups of classes that have a marginal Dice: `all`, as in the paper, those that
            are `present` in the labels of a patch, or those of a `single` class.
        batch_dice: Take the marginal Dice of all patches of a batch (in one process) that have the
            same group of classes as that of one large patch.
        smooth: Voxels added to numerator and denominator of Dice.
        epsilon: Added to probabilities in the logarithm of the exclusion cross-entropy.
        label_smoothing: Fraction of the marginal cross-entropy's label spread over all classes.
        foreground_probability: Probability that a patch is centred on a labelled voxel. One patch
            of each batch always is.
        balance: An epoch has equally many patches of each `dataset`, as in the paper, or equally
            many drawn for each annotated `class`, from cases that do not merge it with another.
        augmentation: Random changes of patches: `none`, `light` or `nnunet`. Parts can be set, as
            in `augmentation.rotation=0.2,-15,15`.
        datasets: Datasets to train and validate on; none means all.
        licence: Use only cases whose licence allows it: `commercial`, or a pattern of licences such
            as `cc-by*`; none uses all.
        fold: Fold of the manifest to validate on, while the other folds are trained on, for a
            cross-validation; none uses the manifest's splits.
        validation_every: Epochs between validations; there is always one after the last epoch.
        overlap: Fraction of a window that the next window overlaps, in validation.
        device: `auto`, or a PyTorch device.
        precision: Of the network; `bfloat16` becomes float32 on CPUs without instructions for it,
            and `float32` is never rounded to TF32.
        compile: Compile the network with torch.compile.
        residence: Where the training's voxels are kept: in the memory of the `device`, in that of
            the `host`, or on `disk`; `auto` chooses by their size.
        workers: Threads that read patches in advance.
        seed: Of the weights, the patches and the augmentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    patch_size_zyx: tuple[Size, Size, Size]
    fit_patch: bool = False
    memory_gib: Positive = 10.0
    filters: Annotated[tuple[Size, ...], Field(min_length=3, max_length=8)]
    residual: bool = False
    deep_supervision: bool = False
    upsampling_bias: bool = False
    batch_size: Count
    accumulation: Count = 1
    patches_per_dataset: Count
    stage_epochs: tuple[Epochs, Epochs]
    first_stage_dice: Fraction = 0.0
    optimiser: Literal["adam", "sgd"]
    learning_rate: Positive
    momentum: Fraction
    weight_decay: Weight
    gradient_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    schedule: Literal["poly", "plateau"]
    method: MethodName = "marginal"
    marginal_weight: Weight
    exclusion_weight: Weight
    exclusion_ramp: Fraction = 0.0
    pseudo_weight: Weight = 0.5
    terms: Annotated[tuple[Term, ...], Field(min_length=1)] = TERMS
    class_reduction: ClassReduction
    dice_groups: DiceGroups = "all"
    batch_dice: bool = False
    smooth: Positive = 1e-5
    epsilon: Positive = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    foreground_probability: Fraction
    balance: Literal["dataset", "class"] = "dataset"
    augmentation: Augmentation
    datasets: tuple[str, ...] = ()
    licence: str | None = None
    fold: Epochs | None = None
    validation_every: Count
    overlap: Annotated[float, Field(ge=0, lt=1)]
    device: str = "auto"
    precision: Precision
    compile: bool = False
    residence: Literal["auto", "device", "host", "disk"] = "auto"
    workers: Count = 2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def epochs(self) -> int:
        """Return the epochs of both stages."""
        return sum(self.stage_epochs)

    @property
    def completed_weight(self) -> float:
        """Return the weight of labels that a model completed; 0 if the method takes none."""
        return self.pseudo_weight if self.method == "marginal" else 0.0

    @property
    def patches_at_once(self) -> int:
        """Return the patches of the largest part of a batch, all of them in one process."""
        return math.ceil(self.batch_size / self.accumulation)

    @model_validator(mode="after")
    def _check(self) -> "TrainSettings":
        if not self.epochs:
            msg = "stage_epochs must hold at least one epoch"
            raise ValueError(msg)
        if self.accumulation > self.batch_size:
            msg = (
                f"accumulation is {self.accumulation}, and a batch has {self.batch_size} patches: "
                f"set accumulation to {self.batch_size} at most, which is one patch at a time"
            )
            raise ValueError(msg)
        if not self.marginal_weight and not self.exclusion_weight:
            msg = "marginal_weight and exclusion_weight must not both be 0"
            raise ValueError(msg)
        if self.batch_dice and (self.accumulation > 1 or not self.marginal_weight):
            msg = (
                f"batch_dice mixes the patches of a batch: expected accumulation 1 and a "
                f"marginal_weight above 0, got {self.accumulation} and {self.marginal_weight:g}"
            )
            raise ValueError(msg)
        if not any(term.startswith("marginal") for term in self.terms):
            msg = "terms must name a marginal loss: exclusion alone teaches no class"
            raise ValueError(msg)
        return self


# fmt: off
_DEEP = (32, 64, 128, 256, 320, 320)
_RELEASED = ("marginal_cross_entropy", "marginal_dice", "exclusion_dice")
_NAMES = ("tiny", "default", "paper", "reference")
_TABLE: tuple[tuple[str, Any, Any, Any, Any], ...] = (
    # setting                  tiny              default         paper           reference
    ("patch_size_zyx",         (32, 48, 48),     (64, 160, 160), (48, 190, 190), (48, 192, 192)),
    ("fit_patch",              False,            True,           False,          False),
    ("filters",                (8, 16, 32, 64),  _DEEP,          _DEEP,          _DEEP),
    ("deep_supervision",       False,            True,           False,          False),
    ("batch_size",             2,                2,              2,              2),
    ("patches_per_dataset",    16,               500,            500,            500),
    ("stage_epochs",           (4, 9),           (60, 140),      (60, 140),      (120, 380)),
    ("first_stage_dice",       0.1,              0.1,            0.0,            0.0),
    ("optimiser",              "adam",           "sgd",          "adam",         "sgd"),
    ("learning_rate",          1e-2,             1e-2,           1e-1,           1e-2),
    ("momentum",               0.99,             0.99,           0.99,           0.99),
    ("weight_decay",           3e-5,             3e-5,           0.0,            3e-5),
    ("gradient_norm",          12.0,             12.0,           None,           12.0),
    ("schedule",               "poly",           "poly",         "plateau",      "poly"),
    ("marginal_weight",        1.0,              1.0,            1.0,            1.0),
    ("exclusion_weight",       0.5,              0.5,            2.0,            2.0),
    ("terms",                  TERMS,            TERMS,          TERMS,          _RELEASED),
    ("class_reduction",        "sum",            "sum",          "sum",          "sum"),
    ("foreground_probability", 0.5,              0.33,           0.0,            0.33),
    ("augmentation",           "light",          "nnunet",       "none",         "nnunet"),
    ("validation_every",       3,                5,              5,              5),
    ("overlap",                0.25,             0.5,            0.5,            0.5),
    ("precision",              "bfloat16",       "bfloat16",     "float32",      "bfloat16"),
)
# fmt: on

# tiny: CPU minutes. default: nnU-Net's recipe, the patch fitted. paper: section 4.4 to the letter.
# reference: what the authors' released code does where it is known to differ from their text.
# tiny's and default's exclusion weight was chosen on five seeds (docs/explanation/evidence.md).
PRESETS = MappingProxyType(
    {
        name: TrainSettings.model_validate({row[0]: row[column] for row in _TABLE})
        for column, name in enumerate(_NAMES, start=1)
    }
)


def resolve(preset: str = "default", overrides: Iterable[str] = ()) -> TrainSettings:
    """Return the settings of a preset with some of them replaced.

    Args:
        preset: A key of `PRESETS`.
        overrides: As in `batch_size=4`, `patch_size_zyx=32,64,64`, `gradient_norm=null`: a value
            is JSON, or a comma-separated list, or else text.

    Raises:
        TrainingError: The preset or a key is not known, or a value cannot be taken.
    """
    values: dict[str, Any] = PRESETS[require_preset(preset)].model_dump()
    try:
        for override in overrides:
            key, value = _parse(override)
            if key in _AUGMENTATION_KEYS:
                # the augmentation may have been named before, and is spelled out to be replaced
                named = TypeAdapter(Augmentation).validate_python(values["augmentation"])
                values["augmentation"] = named.model_dump() | {_AUGMENTATION_KEYS[key]: value}
            else:
                listed = isinstance(values[key], tuple) and not isinstance(value, list)
                values[key] = [value] if listed else value
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        raise TrainingError(explain(error, f"settings of preset {preset!r} with --set")) from error


def require_preset(name: str) -> str:
    """Return the name of a preset.

    Raises:
        TrainingError: There is none of that name.
    """
    if name in PRESETS:
        return name
    near = did_you_mean(name, PRESETS)
    msg = f"no preset {name!r}{near}: expected one of {', '.join(PRESETS)}"
    raise TrainingError(msg)


_AUGMENTATION_KEYS = MappingProxyType(
    {f"augmentation.{name}": name for name in AugmentationSettings.model_fields}
)


def _parse(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    known = TrainSettings.model_fields.keys() | _AUGMENTATION_KEYS.keys()
    if not equals or key not in known:
        like = _AUGMENTATION_KEYS if key.startswith("augmentation.") else sorted(known)
        problem = f"no setting {key!r}{did_you_mean(key, like)}"
        if key in known:
            problem = f"{key} has no value"
        msg = (
            f"cannot set {override!r}: {problem}; expected KEY=VALUE, as in batch_size=4; "
            f"`marginalia train --settings` lists all keys"
        )
        raise TrainingError(msg)
    return key, _value(text)


def _value(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        parts = split_list(text)
        return [_value(part) for part in parts] if len(parts) > 1 or "," in text else text
