"""Settings: presets, overrides, and what is refused."""

import pytest
from pydantic import ValidationError

from manifests.ground.errors import TrainingError
from train.augmentation.settings import AUGMENTATIONS
from train.settings import PRESETS, TrainSettings, resolve


def test_the_paper_preset_is_section_4_4():
    paper = PRESETS["paper"]
    assert (paper.optimiser, paper.learning_rate, paper.schedule) == ("adam", 0.1, "plateau")
    assert (paper.stage_epochs, paper.epochs) == ((60, 140), 200)
    assert (paper.patch_size_zyx, paper.batch_size) == ((48, 190, 190), 2)
    assert paper.patches_per_dataset / paper.batch_size == 250
    assert (paper.marginal_weight, paper.exclusion_weight, paper.class_reduction) == (1, 2, "sum")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("batch_size=4", "batch_size", 4),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("patch_size_zyx=16,32,48", "patch_size_zyx", (16, 32, 48)),
        ("patch_size_zyx=[16, 32, 48]", "patch_size_zyx", (16, 32, 48)),
        ("datasets=btcv", "datasets", ("btcv",)),
        ("datasets=btcv,kits19", "datasets", ("btcv", "kits19")),
        ("gradient_norm=null", "gradient_norm", None),
        ("device=cuda:0", "device", "cuda:0"),
    ],
)
def test_an_override_replaces_one_setting(override, key, value):
    changed = resolve("tiny", [override])
    assert getattr(changed, key) == value
    assert changed == PRESETS["tiny"].model_copy(update={key: value})


def test_a_part_of_the_augmentation_can_be_replaced_and_so_can_all_of_it():
    nnunet = PRESETS["default"].augmentation
    changed = resolve("default", ["augmentation.rotation=0.5,-10,10"]).augmentation
    assert changed == nnunet.model_copy(update={"rotation": (0.5, -10.0, 10.0)})
    none = resolve("default", ["augmentation=none"])
    assert none.augmentation == AUGMENTATIONS["none"]
    named = resolve("paper", ["augmentation=nnunet", "augmentation.mirror_zyx=0,0.5,0"])
    assert named.augmentation == nnunet.model_copy(update={"mirror_zyx": (0.0, 0.5, 0.0)})


def test_the_paper_names_no_augmentation_and_tiny_leaves_shapes_as_they_are():
    assert PRESETS["paper"].augmentation == AUGMENTATIONS["none"]
    tiny = PRESETS["tiny"].augmentation
    assert (tiny.mirror_zyx, tiny.rotation[0], tiny.scaling[0]) == ((0, 0, 0), 0, 0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batchsize=4", "no setting 'batchsize'; did you mean 'batch_size'"),
        ("epochs=9", "no setting 'epochs'; did you mean 'stage_epochs'"),
        ("dataset=btcv", "no setting 'dataset'; did you mean 'datasets'"),
        ("batch_size", "batch_size has no value; expected KEY=VALUE"),
        ("batch_size=0", "batch_size: Input should be greater than or equal to 1"),
        ("batch_size=two", "got 'two'"),
        ("accumulation=3", "a batch has 2 patches: set accumulation to 2 at most"),
        ("learning_rate=NaN", "learning_rate: Input should be a finite number"),
        ("patch_size_zyx=16,16", "patch_size_zyx"),
        ("stage_epochs=0,0", "at least one epoch"),
        ("augmentation=strong", "augmentation: Value error, expected one of none, light, nnunet"),
        ("augmentation.rotate=1,0,1", "did you mean 'augmentation.rotation'"),
        ("augmentation.scaling=0.2,1.4,0.7", "0.25 <= least <= most <= 4, got 1.4, 0.7"),
        ("augmentation.elastic=0.2,0,30", "elastic: expected 0 <= least <= most <= 19.2"),
        ("augmentation.blur=2,0.5,1", "augmentation.blur.0"),
        ("augmentation.blur=often", "augmentation.blur"),
        ("residence=moon", "'device', 'host'"),
        ("filters=" + "[" * 10_000, "filters"),
    ],
)
def test_a_bad_override_is_explained(override, words):
    with pytest.raises(TrainingError, match=words.replace("[", r"\[")):
        resolve("tiny", [override])


@pytest.mark.parametrize(
    ("other", "got"), [("accumulation=2", "got 2 and 1"), ("marginal_weight=0", "got 1 and 0")]
)
def test_dice_of_a_whole_batch_needs_the_batch_whole(other, got):
    with pytest.raises(TrainingError, match=f"batch_dice mixes the patches of a batch.*{got}"):
        resolve("tiny", ["batch_dice=true", other])


@pytest.mark.parametrize(("accumulation", "patches"), [(1, 5), (2, 3), (3, 2), (5, 1)])
def test_the_largest_part_of_a_batch_is_what_needs_memory(accumulation, patches):
    settings = resolve("tiny", ["batch_size=5", f"accumulation={accumulation}"])
    assert settings.patches_at_once == patches


def test_some_loss_must_have_a_weight():
    with pytest.raises(TrainingError, match="must not both be 0"):
        resolve("tiny", ["marginal_weight=0", "exclusion_weight=0"])


def test_an_unknown_preset_is_explained():
    with pytest.raises(
        TrainingError, match=r"did you mean 'tiny'.: expected one of tiny, default, paper"
    ):
        resolve("tinny")


def test_settings_survive_json_and_cannot_be_changed():
    settings = resolve("default", ["datasets=a,b"])
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError):
        settings.seed = 1
