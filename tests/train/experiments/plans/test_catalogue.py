"""Experiments as data: what is shipped is whole, and a user adds to it."""

from statistics import fmean

import pytest

from manifests.ground.errors import TrainingError
from train.experiments.plans.catalogue import load_catalogue
from train.experiments.tables.paper import paper_cells, paper_tables
from train.settings import TrainSettings

# "All" of these is not the mean of the cells beside it, in the paper itself: "24/00" is that of
# Table 3, over ten cells; the others are misprints, of the column or of a cell.
NOT_THE_MEAN = {
    ("table6", "24/00", "dice"),
    ("table6", "24/00", "hausdorff_mm"),
    ("table7", "PaNN", "dice"),
    ("table8", "P1 missing", "dice"),
    ("table8", "P2 missing", "dice"),
    ("table8", "P2 missing", "hausdorff_mm"),
    ("table8", "P3 missing", "hausdorff_mm"),
    ("table8", "P4 missing", "hausdorff_mm"),
    ("table10", "rCE+rDC", "hausdorff_mm"),
}
OURS_ALONE = {
    ("table3", "union, rCE + rDC"),
    ("table3_reduced", "union, regular"),
    ("table3_multiclass", "union, regular"),
    *(("table7", name) for name in ("conditional", "DoDNet", "masked sigmoid", "leaf-Dice")),
}


def test_every_shipped_row_stands_beside_the_papers():
    catalogue = load_catalogue()
    for name, table in catalogue.tables.items():
        for row in table.rows:
            found = paper_cells(row.paper or f"{name}/{row.title}", "dice")
            assert bool(found) == ((name, row.title) not in OURS_ALONE), (name, row.title)


def test_the_papers_means_are_those_of_its_cells():
    wrong = set()
    for name, table in paper_tables().items():
        for title, row in table.rows.items():
            for metric, digit in (("dice", 0.001), ("hausdorff_mm", 0.01)):
                mean = fmean(value for value, _ in getattr(row, metric))
                if abs(mean - getattr(row, f"{metric}_all")) > 0.65 * digit:
                    wrong.add((name, title, metric))
    assert wrong == NOT_THE_MEAN


def test_every_setting_of_a_training_is_one():
    known = set(TrainSettings.model_fields)
    assert all(set(t.set) <= known for t in load_catalogue().trainings.values())


def test_ratios_of_the_weights_differ_in_the_exclusion_alone():
    """A greater marginal weight would scale the losses of fully labelled cases, too."""
    catalogue = load_catalogue()
    for row in catalogue.table("table5").rows:
        marginal, exclusion = map(float, row.title.split(":"))
        weights = catalogue.trainings[row.trainings[0]].set
        assert weights["marginal_weight"] == bool(marginal)
        expected = exclusion / marginal if marginal else 1
        assert weights["exclusion_weight"] == pytest.approx(expected, abs=1e-4), row.title


def test_table_4_is_of_the_runs_of_table_3():
    catalogue = load_catalogue()
    assert catalogue.table("table4") == catalogue.table("table3")


def test_a_user_adds_rows_trainings_and_tables(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        trainings.long = { set = { stage_epochs = [120, 280] } }
        datasets.F = "my_full"
        tables.table5.rows = [{ title = "long", trainings = ["long"] },
                              { title = "1:2", trainings = ["union"] }]
        tables.mine = { title = "Mine", rows = [{ title = "F", trainings = ["F"] }] }
        """
    )
    catalogue = load_catalogue(path)
    shipped = load_catalogue()
    rows = {row.title: row.trainings for row in catalogue.table("table5").rows}
    assert list(rows)[-1] == "long"
    assert rows["1:2"] == ("union",)
    assert len(rows) == len(shipped.table("table5").rows) + 1
    assert catalogue.table("table5").title == shipped.table("table5").title
    assert catalogue.table("mine").trainings == ("F",)
    assert catalogue.dataset_names(["F", "P1", "other"]) == ("my_full", "msd_liver", "other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('tables.t = { title = "", rows = [{title="a", trainings=["nil"]}] }', "there are not"),
        ('tables.t.title = "no row"', "tables.t.rows"),
        ('tables.table5.against = "9:9"', "no row '9:9'"),
        ('trainings.a = { parts = "nil" }', "parts that there are not: nil"),
        ("trainings.a = { sett = {} }", "sett"),
        ("= 3", "cannot be read"),
    ],
)
def test_a_bad_file_is_explained(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=words):
        load_catalogue(path)


def test_an_unknown_table_is_told_with_those_that_there_are():
    with pytest.raises(TrainingError, match=r"no table 'table9'.*table3.*table4"):
        load_catalogue().table("table9")
