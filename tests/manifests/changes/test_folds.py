"""Folds: no patient in two of them, and every class in each of them where that can be."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manifests.changes.case_folds import fold_shortfalls
from manifests.changes.folds import deal_folds, shortfalls
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits, keep_splits
from manifests.ground.errors import ManifestError
from manifests.table.manifest import write_manifest
from manifests.table.validate import validate

LIVER = [["liver", "liver_tumour"]]
traits = st.frozensets(st.sampled_from("abcd"), max_size=3)


def patients_of(sets):
    return {
        f"p{n}": Counter({"dataset x": 1, **{f"annotated {c}": 1 for c in found}})
        for n, found in enumerate(sets)
    }


def pairs(sets, folds):
    """For how many classes and folds there is a patient."""
    return len({(c, fold) for found, fold in zip(sets, folds, strict=True) for c in found})


@given(st.lists(traits, min_size=3, max_size=7), st.integers(2, 3), st.integers(0, 3))
@example([frozenset("ab"), frozenset("bc"), frozenset("ca"), frozenset("d")], 2, 0)
def test_no_deal_covers_more_classes_in_more_folds(sets, count, seed):
    dealt = deal_folds(patients_of(sets), count, seed=seed)
    best = max(pairs(sets, folds) for folds in product(range(count), repeat=len(sets)))
    assert pairs(sets, [dealt[f"p{n}"] for n in range(len(sets))]) == best


@given(
    st.lists(st.tuples(st.frozensets(st.sampled_from("abcdef")), st.integers(5, 20)), min_size=1),
    st.integers(2, 5),
)
@example(
    [
        *((frozenset("a"), 5), (frozenset("a"), 10), (frozenset("a"), 18), (frozenset("ab"), 7)),
        *((frozenset("ab"), 7), (frozenset("ab"), 11), (frozenset("ad"), 5), (frozenset("db"), 11)),
    ],
    4,
)
def test_every_class_of_as_many_patients_of_a_dataset_is_in_every_fold(datasets, count):
    patients = {
        f"{d}/{n}": Counter({f"dataset {d}": 1, **{f"annotated {c}": 1 for c in classes}})
        for d, (classes, total) in enumerate(datasets)
        for n in range(total)
    }
    fold_of = deal_folds(patients, count)
    assert fold_of.keys() == patients.keys()
    assert shortfalls(patients, fold_of, count) == []
    for d, (_, total) in enumerate(datasets):
        sizes = Counter(fold for p, fold in fold_of.items() if p.startswith(f"{d}/"))
        assert max(sizes.values()) - min(sizes[f] for f in range(count)) <= 2, (total, sizes)


@pytest.fixture(scope="session")
def manifest(make_case, make_manifest):
    """Ten patients with two visits each in one dataset, six of whom are in another one, too."""
    visits = [
        make_case(f"a/{n}_{v}", subject_id=f"{n}", split=None) for n in range(10) for v in "xy"
    ]
    others = [make_case(f"b/{n}", subject_id=f"{n}", blocks=LIVER) for n in range(4, 14)]
    return make_manifest([*visits, *others])


def column(manifest, name):
    return dict(zip(*(manifest.table[n].to_pylist() for n in ("case_id", name)), strict=True))


@given(st.integers(2, 5), st.sampled_from([0, 2, 0.2, 0.4]), st.integers(0, 3))
def test_no_patient_stands_in_two_folds_or_in_a_fold_and_the_test(manifest, folds, test, seed):
    assigned = assign_splits(manifest, SplitRequest(test=test, folds=folds, seed=seed))
    fold_of, split_of = column(assigned, "fold"), column(assigned, "split")
    subject_of = column(assigned, "subject_id")
    assert {fold for fold in fold_of.values() if fold is not None} == set(range(folds))
    assert all((fold_of[c] is None) == (split_of[c] == "test") for c in fold_of)
    places = {(subject_of[c], fold_of[c]) for c in fold_of}
    assert len(places) == len(set(subject_of.values()))


def test_a_class_that_too_few_patients_have_is_named(make_case, make_manifest):
    cases = [make_case(f"a/{n}", blocks=LIVER) for n in range(6)]
    cases += [make_case(f"b/{n}", absent=["pancreas"] if n else ()) for n in range(2)]
    assigned = assign_splits(make_manifest(cases), SplitRequest(folds=3))
    told = fold_shortfalls(assigned)
    assert any("no case annotates spleen, of which 2 patients have cases" in line for line in told)
    assert any("no case has pancreas, of which 1 patients have cases" in line for line in told)
    assert not any("liver" in line for line in told)


def test_folds_stay_when_cases_come_and_go(manifest):
    first = assign_splits(manifest, SplitRequest(folds=4, test=2))
    fold_of = column(first, "fold")
    some = manifest.with_table(manifest.table.slice(0, 12))
    fewer = keep_splits(some, first, SplitRequest())
    assert column(fewer, "fold") == {c: f for c, f in fold_of.items() if c in column(some, "fold")}
    back = keep_splits(manifest, fewer, SplitRequest())
    assert column(back, "fold") == fold_of


def test_folds_of_more_than_all_patients_are_refused(manifest):
    with pytest.raises(ManifestError, match="15 folds of 14 patients"):
        assign_splits(manifest, SplitRequest(folds=15))


def test_a_given_split_with_folds_keeps_its_test(manifest):
    given_ = {"a/0_x": "test", "a/0_y": "test", "a/1_x": "train", "a/2_x": "validation"}
    fold_of = column(assign_splits(manifest, SplitRequest(given=given_, folds=2)), "fold")
    assert {c for c, fold in fold_of.items() if fold is not None} == {"a/1_x", "a/2_x"}


# Forced splits, and strata.


def test_a_forced_split_is_noted_with_the_patient_and_stays(manifest):
    given_ = {"a/0_x": "test", "a/0_y": "train", "a/1_x": "train", "a/1_y": "train"}
    with pytest.raises(ManifestError, match=r"0: a/0_x in test, a/0_y in train"):
        assign_splits(manifest, SplitRequest(given=given_))
    forced = assign_splits(manifest, SplitRequest(given=given_, force=True))
    for now in (forced, keep_splits(manifest, forced, SplitRequest())):
        assert {c: s for c, s in column(now, "split").items() if s} == given_
        found = {c.case_id: c.findings for c in now.cases() if c.findings}
        assert found.keys() == {"a/0_x", "a/0_y"}
        assert found["a/0_x"][0].code == "patient_parted"
        assert "a/0_y in train" in found["a/0_x"][0].reason
    healed = assign_splits(forced, SplitRequest(test=2))
    assert not any(c.findings for c in healed.cases())


def test_two_folds_of_one_patient_are_a_problem(make_case, make_manifest, tmp_path):
    cases = [make_case(f"a/{n}", subject_id="a/0", fold=n) for n in range(2)]
    path = tmp_path / "manifest.parquet"
    write_manifest(make_manifest(cases, folder=tmp_path), path)
    (problem,) = validate(path, files=False)
    assert (problem.column, problem.got) == ("fold", "1, with a/0 of the same subject in 0")


@pytest.mark.parametrize("seed", range(5))
def test_each_stratum_gives_its_share(make_case, make_manifest, seed):
    cases = [make_case(f"a/{n:02}") for n in range(40)]
    manifest = make_manifest(cases)
    sites = ["Bern" if n % 4 else "Ulm" for n in range(40)]
    manifest = manifest.with_table(manifest.table.append_column("table_site", [sites]))
    request = SplitRequest(test=0.2, stratify="table_site", folds=4, seed=seed)
    assigned = assign_splits(manifest, request)
    splits = column(assigned, "split").values()
    assert Counter(zip(sites, splits, strict=True))["Ulm", "test"] == 2
    folds = Counter(zip(sites, column(assigned, "fold").values(), strict=True))
    assert [folds["Ulm", f] for f in range(4)] == [2] * 4
    assert [folds["Bern", f] for f in range(4)] == [6] * 4
