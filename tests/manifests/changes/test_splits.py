"""Splits: exact numbers, whole patients, the same whoever asks and in whatever order."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.changes.split_request import SplitRequest, request_from_words, split_presets
from manifests.changes.splits import assign_splits, keep_splits
from manifests.ground.errors import ManifestError

PAPER = {"btcv": 30, "msd_liver": 131, "msd_spleen": 41, "msd_pancreas": 281, "kits19": 210}


@pytest.fixture(scope="session")
def manifest_of(make_case, make_manifest):
    """A manifest with so many cases of each dataset, or with the given subjects."""

    def make(**datasets):
        cases = [
            make_case(f"{dataset}/{i}", split=None, subject_id=f"{subject}")
            for dataset, subjects in datasets.items()
            for i, subject in enumerate(
                [f"{dataset}/{i}" for i in range(subjects)]
                if isinstance(subjects, int)
                else subjects
            )
        ]
        return make_manifest(cases)

    return make


def splits_of(manifest):
    return dict(
        zip(*(manifest.table[name].to_pylist() for name in ("case_id", "split")), strict=True)
    )


def counts_of(manifest):
    """Number of cases by dataset and split."""
    rows = manifest.table.select(["dataset", "split"]).to_pylist()
    return Counter((row["dataset"], row["split"]) for row in rows)


def test_papers_preset_takes_the_papers_numbers(manifest_of):
    counts = counts_of(assign_splits(manifest_of(**PAPER), split_presets()["paper"]))
    test = {dataset: counts[dataset, "test"] for dataset in PAPER}
    train = {dataset: counts[dataset, "train"] for dataset in PAPER}
    assert test == {
        **{"btcv": 6, "msd_liver": 26, "msd_spleen": 8, "msd_pancreas": 56, "kits19": 42}
    }
    assert train == {
        **{"btcv": 24, "msd_liver": 105, "msd_spleen": 33, "msd_pancreas": 225, "kits19": 168}
    }


def test_who_is_taken_never_changes(manifest_of):
    # pinned: another order would move cases between the splits of existing manifests
    splits = splits_of(assign_splits(manifest_of(a=10), SplitRequest(test=2, validation=0.1)))
    held = {case_id: split for case_id, split in splits.items() if split != "train"}
    assert held == {"a/0": "test", "a/2": "validation", "a/4": "test"}


def test_order_of_rows_is_no_matter(manifest_of):
    manifest = manifest_of(a=9, b=["p", "p", "q", "r"], c=["q", "s"])
    backwards = replace(manifest, table=manifest.table.take(list(range(len(manifest)))[::-1]))
    request = SplitRequest(test=0.4, validation=0.2)
    assert splits_of(assign_splits(backwards, request)) == splits_of(
        assign_splits(manifest, request)
    )


def test_other_datasets_are_no_matter(manifest_of):
    request = SplitRequest(test=0.3, validation=0.3)
    alone = splits_of(assign_splits(manifest_of(a=20), request))
    together = splits_of(assign_splits(manifest_of(a=20, b=7), request))
    assert alone.items() <= together.items()


def test_earlier_splits_are_no_matter(manifest_of):
    manifest, request = manifest_of(a=12), SplitRequest(test=0.25)
    before = assign_splits(manifest, SplitRequest(test=0.5, seed=7))
    assert assign_splits(before, request).table == assign_splits(manifest, request).table


def test_seed_decides_who_is_taken(manifest_of):
    manifest = manifest_of(a=40)
    taken = {
        frozenset(
            c
            for c, s in splits_of(assign_splits(manifest, SplitRequest(test=5, seed=seed))).items()
            if s == "test"
        )
        for seed in range(4)
    }
    assert len(taken) == 4


def test_override_wins_over_the_default(manifest_of):
    request = SplitRequest(
        test=0.5, test_by_dataset={"b": 1, "c": 0}, validation_by_dataset={"c": 2}
    )
    counts = counts_of(assign_splits(manifest_of(a=10, b=10, c=10), request))
    assert counts == {
        **{("a", "test"): 5, ("a", "train"): 5, ("b", "test"): 1, ("b", "train"): 9},
        **{("c", "validation"): 2, ("c", "train"): 8},
    }


@pytest.mark.parametrize(
    ("fraction", "cases", "taken"),
    [
        *((0.2, 10, 2), (0.25, 10, 3), (0.24, 10, 2), (0.15, 10, 2)),  # to the nearest, half up
        *((0.01, 3, 1), (0.01, 2, 0), (0.01, 30, 1), (0.5, 1, 1), (0.4, 1, 0)),
    ],
)
def test_fraction_is_rounded(manifest_of, fraction, cases, taken):
    assigned = assign_splits(manifest_of(a=cases), SplitRequest(test=fraction))
    assert counts_of(assigned)["a", "test"] == taken


@pytest.mark.parametrize(
    ("subjects", "taken"),
    [
        ("ppqq", {2}),  # the number is 1, and no patient has so few: one patient all the same
        ("ppqqq", {2}),  # the smaller of the two
        ("pppp", {0}),  # the only patient stays for training
    ],
)
def test_small_fraction_takes_one_patient_where_there_are_others(manifest_of, subjects, taken):
    assigned = assign_splits(manifest_of(a=subjects), SplitRequest(test=0.2))
    assert {counts_of(assigned)["a", "test"]} == taken


def test_count_that_whole_patients_cannot_meet_is_not_passed(manifest_of):
    assigned = assign_splits(manifest_of(a="ppqqrr"), SplitRequest(test=3))
    assert counts_of(assigned)["a", "test"] == 2


def test_a_large_patient_is_passed_over(manifest_of):
    for seed in range(6):
        assigned = assign_splits(manifest_of(a="ppppqrs"), SplitRequest(test=3, seed=seed))
        assert counts_of(assigned)["a", "test"] == 3


amounts = st.one_of(st.integers(0, 3), st.floats(0.01, 0.45))
subjects = st.lists(st.sampled_from("pqrstuvw"), min_size=7, max_size=12)


@given(subjects, subjects, amounts, amounts, st.integers(0, 9))
def test_no_patient_stands_in_two_splits(manifest_of, first, second, test, validation, seed):
    manifest = manifest_of(a=first, b=second)
    assigned = assign_splits(manifest, SplitRequest(test=test, validation=validation, seed=seed))
    rows = assigned.table.select(["dataset", "subject_id", "split"]).to_pylist()
    assert len({(row["subject_id"], row["split"]) for row in rows}) == len({*first, *second})
    for dataset in ("a", "b"):
        left = [row for row in rows if row["dataset"] == dataset]
        total = len(left)
        for split, asked in (("test", test), ("validation", validation)):
            taken = sum(row["split"] == split for row in left)
            fewest = min(Counter(row["subject_id"] for row in left).values())
            most = asked if isinstance(asked, int) else max(asked * total + 0.5, fewest)
            assert taken <= most
            left = [row for row in left if row["split"] != split]


@given(st.integers(1, 40), st.data())
def test_count_is_met_where_each_patient_has_one_case(manifest_of, total, data):
    test = data.draw(st.integers(0, total))
    validation = data.draw(st.integers(0, total - test))
    counts = counts_of(
        assign_splits(manifest_of(a=total), SplitRequest(test=test, validation=validation))
    )
    assert (counts["a", "test"], counts["a", "validation"]) == (test, validation)


@pytest.mark.parametrize(
    "request_",
    [
        SplitRequest(test=6),
        SplitRequest(test=3, validation=3),
        SplitRequest(test=0.6, validation=0.6),
        SplitRequest(test=5, validation=0.1),
        SplitRequest(test_by_dataset={"a": 6}),
    ],
)
def test_more_than_there_is(manifest_of, request_):
    with pytest.raises(ManifestError, match=r"dataset 'a' has 5 cases, fewer than asked: \S+ for"):
        assign_splits(manifest_of(a=5), request_)


def test_all_that_there_is_may_be_held_out(manifest_of):
    counts = counts_of(assign_splits(manifest_of(a=5), SplitRequest(test=4, validation=0.2)))
    assert counts == {("a", "test"): 4, ("a", "validation"): 1}


def test_dataset_that_is_not_there(manifest_of):
    with pytest.raises(ManifestError, match="no dataset 'btvc' to split: the manifest has a, b"):
        assign_splits(manifest_of(a=3, b=3), SplitRequest(validation_by_dataset={"btvc": 1}))


def test_request_is_recorded(manifest_of):
    request = SplitRequest(test=0.2, validation_by_dataset={"a": 1}, seed=5)
    manifest = replace(manifest_of(a=8), settings={"prepare": {"limit": 3}})
    settings = assign_splits(manifest, request).settings
    assert settings["prepare"] == {"limit": 3}
    assert SplitRequest.model_validate(settings["split"]) == request


@pytest.mark.parametrize("amount", [1.0, 0.0, -0.1, 1.5, -1, float("nan"), "6", True])
def test_amount_that_is_neither_count_nor_fraction(amount):
    with pytest.raises(ValidationError):
        SplitRequest(test=amount)
    with pytest.raises(ValidationError):
        SplitRequest(test_by_dataset={"a": amount})


# Words.


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ({"test": ["0.2"]}, SplitRequest(test=0.2)),
        ({"test": ["6"], "seed": 3}, SplitRequest(test=6, seed=3)),
        ({"test": ["a=6", "b=0.5"]}, SplitRequest(test_by_dataset={"a": 6, "b": 0.5})),
        (
            {"test": ["0.2", "a=6"], "validation": ["b=1"]},
            SplitRequest(test=0.2, test_by_dataset={"a": 6}, validation_by_dataset={"b": 1}),
        ),
        ({"preset": "paper"}, SplitRequest(test_by_dataset={"btcv": 6, "kits19": 42})),
        (
            {"preset": "paper", "test": ["kits19=10"], "validation": ["0.1"]},
            SplitRequest(test_by_dataset={"btcv": 6, "kits19": 10}, validation=0.1),
        ),
    ],
)
def test_words_of_a_request(words, request_):
    assert request_from_words(["btcv", "kits19", "a", "b"], **words) == request_


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({}, "nothing is asked"),
        ({"test": ["many"]}, "--test many: expected a fraction .* as --test 6; .* got 'many'"),
        ({"test": ["btcv=many"]}, "--test btcv=many: expected .* got 'many'"),
        ({"test": ["=6"], "validation": ["1.5"]}, "--validation 1.5: .* above 0 and below 1"),
        ({"test": ["-1"]}, "--test -1: expected"),
        ({"test": ["1.0"]}, "--test 1.0: expected"),
        ({"test": ["nan"]}, "--test nan: expected"),
        (
            {"preset": "papers"},
            r"no split preset 'papers'; did you mean 'paper'\?: expected one of paper",
        ),
    ],
)
def test_words_that_make_no_request(words, complaint):
    with pytest.raises(ManifestError, match=complaint):
        request_from_words(["btcv"], **words)


def test_preset_for_none_of_the_datasets():
    with pytest.raises(ManifestError, match=r"'paper' is of btcv, .*: it has mine"):
        request_from_words(["mine"], preset="paper")


# Related cases, and splits that were given.


@pytest.fixture
def related(make_case, make_manifest):
    """Twelve cases, of which a/0, b/0 and c/0 show one patient."""
    ties = {"a/0": ("b/0",), "b/0": ("c/0",)}
    ids = [f"{dataset}/{n}" for dataset in "abc" for n in range(4)]
    return make_manifest([make_case(i, split=None, related=ties.get(i, ())) for i in ids])


@pytest.mark.parametrize("seed", range(20))
def test_related_cases_are_never_parted(related, seed):
    request = SplitRequest(test=2, validation=1, seed=seed)
    splits = splits_of(assign_splits(related, request))
    assert splits["a/0"] == splits["b/0"] == splits["c/0"]
    assert list(splits.values()).count("test") == 6


def test_a_given_split_is_assigned_and_recorded(related):
    given = {"a/0": "test", "b/0": "test", "c/0": "test", "a/1": "train"}
    assigned = assign_splits(related, request_from_words("abc", given=given))
    assert {c: s for c, s in splits_of(assigned).items() if s} == given
    again = SplitRequest.model_validate(assigned.settings["split"])
    assert splits_of(assign_splits(related, again)) == splits_of(assigned)


def test_a_given_split_that_parts_related_cases_is_refused_by_name(related):
    given = {"a/0": "train", "c/0": "test", "b/1": "test"}
    with pytest.raises(ManifestError, match=r"(?s)one patient.*a/0 in train, c/0 in test") as told:
        assign_splits(related, SplitRequest(given=given))
    assert "b/1" not in str(told.value)


def test_a_given_split_may_leave_related_cases_out(related):
    assign_splits(related, SplitRequest(given={"a/0": "train", "b/1": "test"}))


def test_a_given_split_of_cases_that_are_not_there(related):
    with pytest.raises(ManifestError, match=r"1 cases that the manifest has not: 'z/9'"):
        assign_splits(related, SplitRequest(given={"z/9": "train"}))


def test_a_given_split_stands_alone():
    with pytest.raises(ManifestError, match="is complete"):
        request_from_words("abc", test=["0.2"], given={"a/0": "train"})


def part_of(manifest, keep):
    return manifest.with_table(manifest.table.filter([keep(c) for c in splits_of(manifest)]))


def test_a_given_split_survives_cases_that_are_absent_for_a_while(manifest_of):
    whole = manifest_of(a=6, b=4)
    given = {c: ("test", "train", "validation")[n % 3] for n, c in enumerate(splits_of(whole))}
    chosen = assign_splits(whole, SplitRequest(given=given))
    fewer = keep_splits(part_of(whole, lambda c: c.startswith("b")), chosen, SplitRequest())
    assert splits_of(fewer) == {c: s for c, s in given.items() if c.startswith("b")}
    back = keep_splits(whole, fewer, SplitRequest())
    assert splits_of(back) == given
    assert back.settings == chosen.settings


@pytest.mark.parametrize("request_", [SplitRequest(test=0.3, validation=0.2), SplitRequest(test_by_dataset={"a": 4}, validation=1)])  # fmt: skip # noqa: E501
def test_no_case_changes_its_split_when_others_come_or_go(request_, manifest_of):
    whole, larger = manifest_of(a=10, b=5), manifest_of(a=30, b=5, c=4)
    chosen = assign_splits(whole, request_)
    manifest = chosen
    for now in (
        part_of(whole, lambda c: c.startswith("b")),
        part_of(whole, lambda c: c.endswith(("1", "2"))),
        larger,
        whole,
    ):
        manifest = keep_splits(now, manifest, SplitRequest(test=0.9))
        splits, before = splits_of(manifest), splits_of(chosen)
        assert {c: s for c, s in splits.items() if c in before} == {
            c: s for c, s in before.items() if c in splits
        }
    grown = keep_splits(larger, manifest, SplitRequest())
    tests = sum(s == "test" for c, s in splits_of(grown).items() if c.startswith("a"))
    assert tests == (9 if request_.test else 4)


def test_cases_of_two_splits_that_are_one_patients_are_trained_on(manifest_of):
    apart, together = manifest_of(a="pqrs"), manifest_of(a="ppqr")
    first, second, *_ = splits_of(apart)
    given = {first: "test", second: "train"}
    chosen = assign_splits(apart, SplitRequest(given=given))
    splits = splits_of(keep_splits(together, chosen, SplitRequest()))
    assert [splits[first], splits[second]] == ["train", "train"]
