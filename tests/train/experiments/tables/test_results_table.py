"""Tables from scores that are made up: means, spreads, ranks, and the paper's numbers beside."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from manifests.ground.errors import TrainingError
from tests.train.made_scores import scores
from train.experiments import commands
from train.experiments.plans.catalogue import Catalogue
from train.experiments.tables.results_files import write_table
from train.experiments.tables.results_table import build_table
from train.experiments.tables.rows import RowScores, mean_of_seeds, row_scores

CATALOGUE = Catalogue.model_validate(
    {
        "datasets": {"F": "full", "P1": "livers"},
        "trainings": {
            "a": {},
            "b": {},
            "l": {"keep": ["liver"]},
            "s": {"keep": ["spleen"]},
        },
        "tables": {
            "t": {
                "title": "A_B",
                "rows": [
                    {"title": "first & 1", "trainings": ["a"], "paper": "table3/F, rCE + rDC"},
                    {"title": "second", "trainings": ["b"]},
                    {"title": "one by one", "trainings": ["l", "s"]},
                ],
            }
        },
    }
)
TABLE = CATALOGUE.table("t")
LABELLED = {("liver", "full"), ("spleen", "full"), ("liver", "livers")}


def full(liver, spleen, **others):
    return scores(liver_in_full=liver, spleen_in_full=spleen, **others)


def build(done, labelled=LABELLED, **changes):
    table = TABLE.model_copy(update=changes)
    catalogue = CATALOGUE.model_copy(update={"tables": {"t": table}})
    return build_table("t", row_scores(table, catalogue, done), catalogue, labelled)


def dice(table):
    """The cells by row and column."""
    cells = table.rows("dice").items()
    return {(title, column): cell for title, row in cells for column, cell in row.items()}


def test_a_cell_is_the_mean_over_cases_of_the_mean_over_seeds():
    done = {
        ("a", 0): full([0.2, 0.4], [0.5, 0.5]),
        ("a", 1): full([0.4, 0.8], [0.7, 0.7]),
    }
    results = dice(build(done))
    cell = results["first & 1", "liver in F"]
    assert cell["mean"] == pytest.approx(0.45)  # of 0.3 and 0.6
    assert cell["std_over_cases"] == pytest.approx(0.15 * math.sqrt(2))
    assert cell["std_over_seeds"] == pytest.approx(0.15 * math.sqrt(2))  # of 0.3 and 0.6
    every = results["first & 1", "all"]
    assert every["mean"] == pytest.approx((0.45 + 0.6) / 2)
    assert every["std_over_seeds"] == pytest.approx((0.65 - 0.4) / math.sqrt(2))
    assert (cell["paper_mean"], cell["paper_std"]) == (0.960, 0.004)
    assert every["paper_mean"] == 0.874
    assert math.isnan(every["paper_std"])


def test_one_seed_has_no_spread():
    results = dice(build({("a", 0): full([0.2, 0.4], [0.5, 0.5])}))
    assert math.isnan(results["first & 1", "liver in F"]["std_over_seeds"])


def test_what_one_seed_invents_costs_it_and_what_none_finds_is_not_scored():
    right, wrong = full([None, 0.5], [0.5, 0.5]), full([0.0, 0.5], [0.5, 0.5])
    mean = mean_of_seeds([right, wrong])
    assert {s.case_id: s.dice for s in mean.scores if s.class_name == "liver"}["full/0"] == 0.5
    assert mean_of_seeds([right, right]).scores[0].outcome == "absent"


def test_the_networks_of_a_row_speak_for_what_they_keep():
    done = {("l", 0): full([0.9, 0.9], [0.1, 0.1]), ("s", 0): full([0.1, 0.1], [0.8, 0.8])}
    results = dice(build(done))
    found = {c: cell["mean"] for (_, c), cell in results.items()}
    assert found == pytest.approx({"liver in F": 0.9, "spleen in F": 0.8, "all": 0.85})


def test_a_row_waits_for_all_of_its_networks_and_so_does_a_seed():
    done = {
        ("a", 0): full([0.5], [0.5]),
        ("l", 0): full([0.9], [0.1]),
        ("l", 1): full([0.9], [0.1]),
        ("s", 1): full([0.1], [0.8]),
    }
    rows = row_scores(TABLE, CATALOGUE, done)
    assert [(row.title, row.seeds) for row in rows] == [("first & 1", (0,)), ("one by one", (1,))]
    assert build(done).missing == ("second",)


def test_best_and_second_are_marked_for_either_direction_of_a_metric():
    done = {
        ("a", 0): full([0.5, 0.5], [0.5, 0.5]),
        ("b", 0): full([0.7, 0.7], [0.4, 0.4]),
        ("l", 0): full([0.6, 0.6], [0.1, 0.1]),
        ("s", 0): full([0.1, 0.1], [0.2, 0.2]),
    }
    for metric in ("dice", "hausdorff_mm"):
        rows = build(done).rows(metric)
        found = [
            rows[title]["liver in F"]["rank"] for title in ("first & 1", "second", "one by one")
        ]
        assert found == [2, 0, 1], metric


def test_all_is_over_what_training_labels_and_everything_over_the_rest_too():
    done = {("a", 0): full([0.5], [0.5], liver_in_livers=[0.8], spleen_in_livers=[0.0])}
    table = build(done)
    results = dice(table)
    assert {column for _, column in results} - set(table.shown_columns) == {"spleen in P1"}
    assert results["first & 1", "all"]["mean"] == pytest.approx(0.6)
    assert results["first & 1", "everything"]["mean"] == pytest.approx(0.45)


def test_a_mean_over_fewer_cells_does_not_stand_beside_the_others():
    done = {("a", 0): full([0.5], [0.5]), ("b", 0): scores(liver_in_full=[0.9])}
    cells = dice(build(done))
    assert cells["first & 1", "all"]["mean"] == 0.5
    assert math.isnan(cells["second", "all"]["mean"])
    assert cells["second", "liver in F"]["rank"] == 0


def test_rows_of_other_test_cases_stand_beside_each_other_untested():
    one = RowScores("first & 1", (0,), (full([0.5, 0.6], [0.5, 0.6]),))
    truth = {f"full/{n}": {"label": "", "merged": []} for n in range(2)}
    other = scores(settings={"cases": truth}, liver_in_full=[0.7, 0.8], spleen_in_full=[0.1, 0.2])
    rows = [one, RowScores("second", (0,), (other,))]
    results = dice(build_table("t", rows, CATALOGUE, LABELLED))
    assert results["second", "liver in F"]["mean"] == pytest.approx(0.75)
    assert results["second", "liver in F"]["rank"] == 0
    assert all(math.isnan(cell["p"]) for cell in results.values())


def test_the_cases_are_those_of_the_rows_own_test_set():
    one = RowScores("first & 1", (0,), (full([0.5, 0.6, 0.7], [0.5, 0.6, None]),))
    other = scores(settings={"cases": {"full/0": {"label": "", "merged": []}}}, liver_in_full=[0.7])
    rows = [one, RowScores("second", (0,), (other,))]
    results = dice(build_table("t", rows, CATALOGUE, LABELLED))
    cases = {key: cell["cases"] for key, cell in results.items() if key[1] != "all"}
    assert cases["first & 1", "liver in F"] == 3
    assert cases["first & 1", "spleen in F"] == 2
    assert cases["second", "liver in F"] == 1
    assert math.isnan(cases["second", "spleen in F"])


def test_a_test_set_without_what_training_labels_has_the_mean_of_everything():
    table = build({("a", 0): full([0.5], [0.7])}, labelled={("liver", "livers")})
    assert table.shown_columns == ["everything"]
    assert dice(table)["first & 1", "everything"]["mean"] == pytest.approx(0.6)


def test_a_test_set_without_any_score_is_told():
    with pytest.raises(TrainingError, match="table 't': no row has a score in livers"):
        build({("a", 0): full([0.5], [0.5])}, tested_on=("P1",))


def test_only_the_datasets_that_a_table_is_tested_on_count():
    done = {("a", 0): full([0.5], [0.5], liver_in_livers=[0.8])}
    results = dice(build(done, tested_on=("P1",)))
    assert [column for _, column in results] == ["liver in P1", "all"]


@pytest.fixture
def written(tmp_path):
    done = {
        ("a", 0): full([0.25, 0.75], [0.5, 0.5], spleen_in_livers=[0.125]),
        ("a", 1): full([0.25, 0.75], [0.5, 0.5], spleen_in_livers=[0.125]),
        ("b", 0): full([0.5, 1.0], [0.5, 0.25], spleen_in_livers=[0.125]),
    }
    table = build(done, title="A_B")
    write_table(table, tmp_path)
    return table, tmp_path


def test_the_files_have_ours_and_the_papers_with_marks(written):
    _, folder = written
    markdown = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    second = next(line for line in markdown if line.startswith("| second | ours"))
    assert "| **0.750 ± 0.354**" in second
    assert any(line.startswith("|  | paper | 0.960 ± 0.004 |") for line in markdown)
    assert "spleen in P1" not in "".join(markdown)
    latex = (folder / "table.tex").read_text(encoding="utf-8")
    assert r"first \& 1 & ours & \underline{0.500 $\pm$ 0.354}" in latex
    assert r"second & ours & \textbf{0.750 $\pm$ 0.354}" in latex
    assert "% A_B: Dice" in latex
    rows = pd.read_csv(folder / "table.csv")
    chosen = rows[(rows.metric == "dice") & (rows.column == "spleen in P1")]
    assert chosen["mean"].tolist() == [0.125, 0.125]
    assert not chosen["labelled_in_training"].any()
    assert rows[rows.row == "first & 1"]["std_over_seeds"].dropna().eq(0).all()


def printed(table, width, monkeypatch):
    console = Console(width=width, file=io.StringIO())
    monkeypatch.setattr(commands, "console", console)
    commands._show(table)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [48, 55, 80])
def test_a_narrow_screen_has_fewer_columns_and_no_broken_word(written, monkeypatch, width):
    text = printed(written[0], width, monkeypatch)
    expected = {"all", "everything", "0.500", "first", "second"}
    assert expected <= set(text.split())
    few = "means only: table.md has every" in " ".join(text.split())
    assert few == (width < 80)
    assert few != ("liver" in text and "±0.354" in text)


def test_the_screen_shows_mean_deviation_and_the_papers(written, monkeypatch):
    text = printed(written[0], 160, monkeypatch)
    for words in ("liver", "0.750", "±0.354", "in F", "paper 0.960", "not run yet: one by one"):
        assert words in text, words


# --- one test for each row ----------------------------------------------------------------------


def test_the_pooled_test_is_over_all_cases_and_corrected_for_the_rows_only():
    cells = {"liver_in_full": [0.5] * 3, "spleen_in_full": [0.5] * 3, "liver_in_livers": [0.5] * 3}
    # liver gains in each case as much as spleen loses in the first row's, but for 0.01 times 1 to 6
    better = {
        "liver_in_full": [0.72, 0.74, 0.76],
        "spleen_in_full": [0.3] * 3,
        "liver_in_livers": [0.54, 0.55, 0.56],
    }
    done = {("a", 0): scores(**cells), ("b", 0): scores(**better)}
    done |= {("l", 0): scores(**cells), ("s", 0): scores(**cells)}
    results = dice(build(done, against="first & 1"))
    second = results["second", "all"]
    # all six cases gain: 2 / 2^6; and there are two rows, of which the other one is the first again
    assert second["p_pooled"] == pytest.approx(2 / 2**6)
    assert second["p_pooled_holm"] == pytest.approx(4 / 2**6)
    assert results["one by one", "all"]["p_pooled"] == 1
    assert math.isnan(results["first & 1", "all"]["p_pooled_holm"])
    assert results["second", "liver in F"]["p_holm"] == 1


def test_the_pooled_test_takes_means_over_seeds_and_classes_that_both_score():
    done = {
        ("a", 0): full([0.5, None], [0.5, 0.5]),
        ("b", 0): scores(liver_in_full=[0.6, None]),
        ("b", 1): scores(liver_in_full=[0.4, None]),
    }
    # the only class that both have is equal over the seeds, and absent in the second case
    assert dice(build(done))["second", "liver in F"]["p_pooled"] == 1


def test_the_pooled_column_is_in_all_files_and_on_the_screen(written, monkeypatch):
    table, folder = written
    p = dice(table)["second", "all"]["p_pooled_holm"]
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    heads, _, first, *rest = (x for x in markdown.splitlines() if x.startswith("|"))
    assert heads.endswith("| p, pooled |")
    assert first.endswith("| – |")  # noqa: RUF001
    assert rest[1].endswith(f"| {p:.2g} |")
    assert {line.count("|") for line in (heads, first, *rest[:2])} == {heads.count("|")}
    latex = (folder / "table.tex").read_text(encoding="utf-8").splitlines()
    assert len({line.replace(r"\&", "").count("&") for line in latex if line.endswith(r"\\")}) == 1
    rows = pd.read_csv(folder / "table.csv")
    chosen = rows[(rows.metric == "dice") & (rows.row == "second")]
    assert chosen["p_pooled_holm"].tolist() == [pytest.approx(p)] * len(chosen)
    assert "pooled" in printed(table, 160, monkeypatch)
