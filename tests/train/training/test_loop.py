"""The loop: it learns, it goes on where it was stopped, and it refuses what is not the same run."""

import errno
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from filelock import FileLock

from manifests.ground.alone import InUseError
from manifests.ground.errors import CheckpointError, MarginaliaError, TrainingError
from manifests.table.manifest import Manifest, read_manifest
from train.augmentation.settings import AUGMENTATIONS
from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
from train.losses.options import TERMS
from train.settings import resolve
from train.training import loop
from train.training.events import EpochDone, Remark, Started, StepDone
from train.training.log import read_log
from train.training.loop import train
from train.training.start import Start
from train.training.validation import Validation

AUGMENTED = {
    "augmentation": AUGMENTATIONS["nnunet"].model_copy(
        update={"mirror_zyx": (0.5, 0.5, 0.0), "rotation": (1.0, -30.0, 30.0)}
    ),
    "stage_epochs": (1, 1),
}


def stop_at(matches):
    """Press Ctrl-C at the first event that matches."""

    def on_event(event):
        if matches(event):
            raise KeyboardInterrupt

    return on_event


def after_epoch(number):
    return lambda event: isinstance(event, EpochDone) and event.record.epoch == number


def within_epoch(number):
    return lambda event: isinstance(event, StepDone) and (event.epoch, event.step) == (number, 2)


def lines_of(run):
    """The log without its times."""
    log = read_log(run).drop(columns=["seconds", "patches_per_second"])
    return log.astype(object).where(log.notna(), None).to_dict("records")


def assert_same_run(run, other):
    for which in ("best", "last"):
        one, two = (load_checkpoint(checkpoint_path(r, which)) for r in (run, other))
        assert one.header == two.header
        assert one.tensors.keys() == two.tensors.keys()
        assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert lines_of(run) == lines_of(other)


@pytest.fixture(scope="module")
def whole_run(manifest_path, settings, tmp_path_factory):
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    events = []
    result = train(read_manifest(manifest_path), run, settings, on_event=events.append)
    return run, result, events


def test_a_run_leaves_checkpoints_logs_and_settings(whole_run, settings):
    run, result, events = whole_run
    assert (result.epochs, result.epochs_before) == (4, 0)
    lines = lines_of(run)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["stage"] for line in lines] == [1, 2, 2, 2]
    # two batches of two for each of one dataset, then of two
    assert [line["step"] for line in lines] == [2, 6, 10, 14]
    assert [line["validation_dice"] is not None for line in lines] == [False, True, False, True]
    assert result.best_score == max(line["validation_dice"] or 0 for line in lines)
    assert {line["dice/both/spleen"] is not None for line in lines} == {False, True}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((run / "settings.json").read_text())
    assert saved["settings"] == json.loads(settings.model_dump_json())
    assert sum(isinstance(event, StepDone) for event in events) == 14
    assert list((run / "tensorboard").iterdir())


@pytest.mark.parametrize("stop", [after_epoch(1), after_epoch(2), within_epoch(1), within_epoch(3)])
def test_a_stopped_run_goes_on_to_the_same_weights_bit_by_bit(
    whole_run, manifest, settings, tmp_path, stop
):
    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path, settings, on_event=stop_at(stop))
    train(manifest, tmp_path, settings)
    assert_same_run(tmp_path, whole_run[0])


@pytest.mark.parametrize("residence", ["device", "disk"])
def test_so_does_a_run_whose_patches_are_turned_and_mirrored(
    manifest, settings, tmp_path, residence, augmented_run
):
    chosen = settings.model_copy(update={"residence": residence, **AUGMENTED})
    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path, chosen, on_event=stop_at(within_epoch(2)))
    train(manifest, tmp_path, chosen)
    one, two = (load_checkpoint(checkpoint_path(r, "last")) for r in (tmp_path, augmented_run))
    assert one.header.losses == two.header.losses
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


@pytest.fixture(scope="module")
def augmented_run(manifest_path, settings, tmp_path_factory):
    """A run with much augmentation that nothing interrupted."""
    run = tmp_path_factory.mktemp("augmented") / "run"
    train(read_manifest(manifest_path), run, settings.model_copy(update=AUGMENTED))
    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_run_within_an_epoch_and_it_goes_on_bit_by_bit(
    whole_run, manifest, settings, tmp_path, number
):
    steps = []

    def on_event(event):
        if isinstance(event, StepDone):
            steps.append((event.epoch, event.step))
            if steps[-1] == (3, 2):
                os.kill(os.getpid(), number)

    result = train(manifest, tmp_path, settings, on_event=on_event)
    assert result.preempted
    assert (result.epochs, steps[-1]) == (2, (3, 2))
    again = train(manifest, tmp_path, settings, on_event=on_event)
    assert not again.preempted
    assert steps[steps.index((3, 2)) + 1] == (3, 3)
    assert_same_run(tmp_path, whole_run[0])


def test_a_run_goes_on_with_another_manifest_only_if_forced(manifest, settings, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path, settings, on_event=stop_at(after_epoch(1)))
    cases = [replace(c, merged=(0, 1, 0)) if c.case_id == "both/0" else c for c in manifest.cases()]
    other = Manifest.of(cases, manifest.label_space, folder=manifest.folder)
    with pytest.raises(TrainingError, match="--force resumes"):
        train(other, tmp_path, settings)
    assert train(other, tmp_path, settings, start=Start(force=True)).epochs == 4


def test_where_a_run_goes_on_may_change(whole_run, manifest, settings, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path, settings, on_event=stop_at(after_epoch(1)))
    elsewhere = settings.model_copy(update={"workers": 1, "residence": "disk", "device": "cpu"})
    train(manifest, tmp_path, elsewhere)
    one, two = (load_checkpoint(checkpoint_path(r, "last")) for r in (whole_run[0], tmp_path))
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_the_weights_average_predicts_and_is_kept_when_a_run_goes_on(manifest, settings, tmp_path):
    averaged = settings.model_copy(update={"ema_decay": 0.5})
    train(manifest, tmp_path / "whole", averaged)
    with pytest.raises(KeyboardInterrupt):
        train(manifest, tmp_path / "cut", averaged, on_event=stop_at(after_epoch(3)))
    train(manifest, tmp_path / "cut", averaged)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    last, best = (load_checkpoint(checkpoint_path(tmp_path / "whole", w)) for w in ("last", "best"))
    if best.header.epochs == 4:
        name = next(n for n in best.tensors if n.endswith("weight"))
        average = last.tensors[name.replace("network/", "average/")]
        assert torch.equal(best.tensors[name], average)
        assert not torch.equal(best.tensors[name], last.tensors[name])


def test_the_log_holds_each_term_of_the_loss(whole_run):
    log = read_log(whole_run[0])
    weights = {"marginal": 1, "exclusion": 0.5}
    total = sum(weights[name.split("_")[0]] * log[name] for name in TERMS)
    assert total.to_numpy() == pytest.approx(log["loss"].to_numpy(), rel=1e-5)
    assert log["exclusion_dice"].tolist()[0] == 0  # the first stage has nothing to exclude
    assert min(log["exclusion_dice"].tolist()[1:]) > 0


@pytest.fixture
def stopped_at_save(manifest, settings, tmp_path, monkeypatch):
    """A run that was stopped while it saved the n-th checkpoint, and then gone on with."""

    def go(n):
        save, calls = loop.save_checkpoint, []

        def interrupted(*arguments, **options):
            calls.append(arguments)
            if len(calls) == n:
                raise KeyboardInterrupt
            save(*arguments, **options)

        monkeypatch.setattr(loop, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(manifest, tmp_path, settings)
        assert len(lines_of(tmp_path)) == 2
        train(manifest, tmp_path, settings)
        return tmp_path

    return go


@pytest.mark.parametrize("n", [3, 4])
def test_a_run_stopped_between_log_and_checkpoint_logs_that_epoch_once(
    whole_run, stopped_at_save, n
):
    assert_same_run(stopped_at_save(n), whole_run[0])


def test_tensorboard_too_has_each_epoch_once(stopped_at_save):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(stopped_at_save(3) / "tensorboard")).Reload()
    assert [s.step for s in board.Scalars("training/loss")] == [1, 2, 3, 4]
    assert [s.step for s in board.Scalars("validation/both/spleen")] == [2, 4]


def test_a_finished_run_is_left_alone(whole_run, manifest, settings):
    run, first, _ = whole_run
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    events = []
    result = train(manifest, run, settings, on_event=events.append)
    assert (result.epochs, result.epochs_before) == (4, 4)
    assert result.best_score == first.best_score
    assert [type(event) for event in events] == [Started]
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_another_manifest_is_refused(whole_run, manifest, settings):
    cases = [replace(c, merged=(0, 1, 0)) if c.case_id == "both/0" else c for c in manifest.cases()]
    other = Manifest.of(cases, manifest.label_space, folder=manifest.folder)
    with pytest.raises(TrainingError, match="differs in the manifest's cases, splits, labels"):
        train(other, whole_run[0], settings)


def test_other_settings_are_refused_and_named(whole_run, manifest, settings):
    other = settings.model_copy(update={"seed": 1, "batch_size": 4})
    with pytest.raises(TrainingError, match=r"batch_size: was 2, is 4; seed: was 0, is 1"):
        train(manifest, whole_run[0], other)


def test_the_seed_decides_the_weights(whole_run, manifest, settings, tmp_path):
    train(manifest, tmp_path, settings.model_copy(update={"seed": 1}))
    one, two = (load_checkpoint(checkpoint_path(r, "last")) for r in (whole_run[0], tmp_path))
    assert one.header.losses != two.header.losses


def test_threads_that_read_do_not_change_the_weights(whole_run, manifest, settings, tmp_path):
    train(manifest, tmp_path, settings.model_copy(update={"workers": 5}))
    one, two = (load_checkpoint(checkpoint_path(r, "last")) for r in (whole_run[0], tmp_path))
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_each_stage_reads_its_own_datasets_and_each_epoch_its_own_patches(
    manifest, settings, tmp_path, monkeypatch
):
    seen, plans = [], []
    plan_epoch = loop.plan_epoch

    def spy(volumes, *arguments, **options):
        seen.append({v.dataset for v in volumes})
        plans.append(plan_epoch(volumes, *arguments, **options))
        return plans[-1]

    monkeypatch.setattr(loop, "plan_epoch", spy)
    train(manifest, tmp_path, settings)
    assert seen == [{"both"}, *[{"both", "liver_only"}] * 3]
    assert plans[1] != plans[2] != plans[3]


def test_first_stage_goes_on_until_every_class_is_learnt_whoever_stops_it(
    manifest, settings, tmp_path, monkeypatch
):
    asked = {"stage_epochs": (2, 1), "first_stage_dice": 0.5, "validation_every": 1}
    chosen = settings.model_copy(update=asked)
    dice = {1: 0.0, 2: 0.4, 3: 0.6, 4: 0.1}  # by epoch

    def validate(*_, **__):
        return Validation({("both", "liver"): dice[len(read_log(run)) + 1]}, {})

    monkeypatch.setattr(loop, "validate", validate)
    for run in (whole := tmp_path / "whole", tmp_path / "stopped"):
        if run != whole:
            with pytest.raises(KeyboardInterrupt):
                train(manifest, run, chosen, on_event=stop_at(within_epoch(3)))
        result = train(manifest, run, chosen)
        assert (result.epochs, result.preempted) == (4, False)
        assert [line["stage"] for line in lines_of(run)] == [1, 1, 1, 2]
    assert_same_run(whole, run)


def test_tensorboard_shows_a_validation_case_of_each_dataset(whole_run, manifest):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(whole_run[0] / "tensorboard")).Reload()
    cases = [c for c in manifest.cases() if c.split == "validation"]
    first = {c.dataset: c.case_id for c in reversed(cases)}
    assert set(board.Tags()["images"]) == {f"validation/{case_id}" for case_id in first.values()}


def test_the_best_checkpoint_is_that_of_the_best_score(manifest, settings, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.4, 0.9])

    def validate(*_, **__):
        return Validation({("both", "liver"): next(scores)}, {})

    monkeypatch.setattr(loop, "validate", validate)
    result = train(manifest, tmp_path, settings.model_copy(update={"validation_every": 1}))
    assert result.best_score == 0.9
    assert load_checkpoint(checkpoint_path(tmp_path, "best")).header.epochs == 2
    assert load_checkpoint(checkpoint_path(tmp_path, "last")).header.epochs == 4


def test_without_validation_cases_the_best_is_the_last(manifest, settings, tmp_path):
    cases = [replace(c, split="train") for c in manifest.cases()]
    result = train(
        Manifest.of(cases, manifest.label_space, folder=manifest.folder), tmp_path, settings
    )
    assert result.best_score is None
    assert load_checkpoint(checkpoint_path(tmp_path, "best")).header.epochs == 4


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(manifest, settings, tmp_path):
    wild = settings.model_copy(
        update={"optimiser": "sgd", "learning_rate": 1e30, "gradient_norm": None}
    )
    words = r"epoch 1, step 2: the loss is (nan|inf) on patches of both/\d, both/\d at learning"
    with pytest.raises(TrainingError, match=words):
        train(manifest, tmp_path, wild)
    assert not checkpoint_path(tmp_path, "last").exists()


def test_a_missing_volume_is_told_before_anything_is_written(manifest, settings, tmp_path):
    cases = [
        replace(c, label="cases/gone.nii") if c.case_id == "both/1" else c for c in manifest.cases()
    ]
    other = Manifest.of(cases, manifest.label_space, folder=manifest.folder)
    with pytest.raises(TrainingError, match="case both/1: label: expected a file"):
        train(other, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_an_unknown_device_is_explained(manifest, settings, tmp_path):
    with pytest.raises(TrainingError, match="cannot use the device 'abacus'"):
        train(manifest, tmp_path, settings.model_copy(update={"device": "abacus"}))


@pytest.mark.parametrize(("precision", "tf32"), [("float32", False), ("bfloat16", True)])
def test_what_the_caller_chose_of_pytorch_holds_in_every_step(
    manifest, settings, tmp_path, monkeypatch, precision, tf32
):
    cudnn, matmul, found = torch.backends.cudnn, torch.get_float32_matmul_precision, []
    chosen = {"enabled": False, "deterministic": True, "allow_tf32": True, "benchmark": False}
    for name, value in chosen.items():
        monkeypatch.setattr(cudnn, name, value)
    before = matmul()

    def flags():
        return {name: getattr(cudnn, name) for name in chosen} | {"matmul": matmul()}

    def look(event):
        if isinstance(event, StepDone):
            found.append(flags())

    settings = settings.model_copy(update={"precision": precision, "stage_epochs": (1, 0)})
    try:
        torch.set_float32_matmul_precision("medium")
        train(manifest, tmp_path, settings, on_event=look)
        after = flags()
    finally:
        torch.set_float32_matmul_precision(before)
    allowed = {"allow_tf32": tf32, "matmul": "medium" if tf32 else "highest"}
    assert found == [chosen | {"benchmark": True} | allowed] * 2
    assert after == chosen | {"matmul": "medium"}


def test_a_network_learns_its_training_cases_by_heart(manifest, tmp_path):
    # the training cases validate it too
    cases = [c for c in manifest.cases() if c.split == "train"]
    twins = [replace(c, case_id=f"{c.case_id}-again", split="validation") for c in cases]
    both = Manifest.of([*cases, *twins], manifest.label_space, folder=manifest.folder)
    settings = resolve(
        "tiny",
        [
            "patch_size_zyx=16,16,16",
            "filters=8,8,16",
            "learning_rate=1e-2",
            "patches_per_dataset=20",
            "stage_epochs=1,4",
            "validation_every=5",
        ],
    )
    result = train(both, tmp_path, settings)
    losses = load_checkpoint(checkpoint_path(tmp_path, "last")).header.losses
    assert losses[4] < 0.5 * losses[1]
    assert result.best_score is not None
    assert result.best_score > 0.85


# What is found in a run's folder, and what cannot be written to it.


def test_a_second_training_in_a_folder_is_refused_at_once(manifest, settings, tmp_path):
    with (
        FileLock(tmp_path / ".train.lock"),
        pytest.raises(InUseError, match="another `marginalia train` is at work"),
    ):
        train(manifest, tmp_path, settings)


def test_a_killed_save_and_a_damaged_log_hinder_no_resuming(
    whole_run, manifest, settings, tmp_path
):
    run, remarks = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        train(manifest, run, settings, on_event=stop_at(after_epoch(2)))
    half = run / "checkpoints" / ".0a1b.partial.last.safetensors"
    half.write_bytes(b"half")
    (run / "log.parquet").write_bytes(b"PAR1")
    train(manifest, run, settings, on_event=remarks.append)
    assert not half.exists()
    (words,) = (r.words for r in remarks if isinstance(r, Remark))
    assert "log.parquet lacks 2 epochs" in words
    log, whole = read_log(run), read_log(whole_run[0])
    for column in ("epoch", "stage", "step", "loss"):
        assert log[column].tolist() == whole[column].tolist()


def full_disk(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    whole_run, manifest, settings, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(manifest, run, settings, on_event=stop_at(after_epoch(2)))
    with monkeypatch.context() as patch:
        patch.setattr("train.checkpoints.checkpoint.save_file", full_disk)
        with pytest.raises(CheckpointError, match="No space left on device; what the run saved"):
            train(manifest, run, settings)
    train(manifest, run, settings)
    assert_same_run(run, whole_run[0])


def test_a_folder_that_cannot_be_made_is_told(manifest, settings, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MarginaliaError, match=r"nothing can be written to .*file"):
        train(manifest, tmp_path / "file", settings)


def test_no_file_in_the_way_of_what_is_for_people_ends_a_training(manifest, settings, tmp_path):
    (tmp_path / "log.parquet").mkdir()
    (tmp_path / "tensorboard").write_text("x")
    events = []
    settings = settings.model_copy(update={"stage_epochs": (1, 0)})
    assert train(manifest, tmp_path, settings, on_event=events.append).epochs == 1
    assert [e.words.split(": ")[0] for e in events if isinstance(e, Remark)] == [
        f"{tmp_path / 'tensorboard'} cannot be written",
        f"{tmp_path / 'log.parquet'} cannot be written",
    ]


def test_neither_log_nor_tensorboard_ends_a_training(manifest, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.flush", full_disk)
    monkeypatch.setattr("pandas.DataFrame.to_parquet", full_disk)
    monkeypatch.setattr("train.training.run_folder.write_curves", full_disk)
    events = []
    result = train(manifest, tmp_path, settings, on_event=events.append)
    words = [e.words for e in events if isinstance(e, Remark)]
    assert result.epochs == 4
    assert sum("TensorBoard shows no more" in w for w in words) == 1
    assert sum("log.parquet cannot be written" in w for w in words) == 4
    assert sum("curves" in w for w in words) == 1
