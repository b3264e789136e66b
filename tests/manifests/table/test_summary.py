"""Summary: the counts are those of counting case by case."""

import json
import math
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.classes.label_space import load_label_space
from manifests.ground.findings import MEANINGS, Finding
from manifests.table.case import SCHEMA
from manifests.table.sql import select_cases
from manifests.table.summary import UNKNOWN_CODE, ClassCount, FindingCount, Range, summarise

ABDOMEN5 = load_label_space("abdomen5")
LIVER = (("liver", "liver_tumour"),)
KIDNEYS_AS_ONE = (
    ("left_kidney", "left_kidney_tumour", "right_kidney", "right_kidney_tumour"),
    ("spleen",),
)


def summary_of(manifest):
    with select_cases(manifest) as cases:
        return summarise(cases)


@pytest.fixture
def summary(make_case, make_manifest):
    return summary_of(
        make_manifest(
            [
                make_case("btcv/1", split="test", source_spacing_mm=(0.9, 0.8, 5.0)),
                make_case("btcv/2", split=None, absent=["right_kidney"], subject_id="btcv/1"),
                make_case("btcv/3", blocks=LIVER, absent=["liver"], size=(13, 10, 10)),
                make_case("mixed/1", blocks=KIDNEYS_AS_ONE, licence="CC0-1.0"),
                make_case("mixed/2", blocks=[], licence="CC-BY-4.0", recipe_version="2"),
            ]
        )
    )


def test_classes_of_each_dataset(summary):
    btcv, mixed = summary.datasets
    assert btcv.classes == (
        ClassCount("liver", annotated=3, present=2, absent=1, not_annotated=0),
        ClassCount("spleen", annotated=2, present=2, absent=0, not_annotated=1),
        ClassCount("pancreas", annotated=2, present=2, absent=0, not_annotated=1),
        ClassCount("left_kidney", annotated=2, present=2, absent=0, not_annotated=1),
        ClassCount("right_kidney", annotated=2, present=1, absent=1, not_annotated=1),
    )
    # kidneys that are one with each other are not annotated, though apart from the background
    assert [c.annotated for c in mixed.classes] == [0, 1, 0, 0, 0]
    assert [c.not_annotated for c in mixed.classes] == [2, 1, 2, 2, 2]


def test_numbers_of_each_dataset(summary):
    btcv, mixed = summary.datasets
    assert (btcv.name, btcv.cases, btcv.subjects) == ("btcv", 3, 2)
    assert btcv.splits == {"train": 1, "validation": 0, "test": 1, "unassigned": 1}
    assert btcv.source_spacing_mm == Range((0.75, 0.75, 1.5), (0.9, 0.8, 5.0))
    assert btcv.size == Range((12, 10, 10), (13, 10, 10))
    assert btcv.spacing_mm == Range((1.5, 1.5, 3.0), (1.5, 1.5, 3.0))
    assert btcv.source_size == Range((16, 14, 12), (16, 14, 12))
    assert mixed.licences == ("CC-BY-4.0", "CC0-1.0")
    assert mixed.recipes == ("mixed 1", "mixed 2")


def test_the_whole(summary):
    assert (summary.cases, summary.label_space) == (5, "abdomen5")
    assert summary.classes == ("liver", "spleen", "pancreas", "left_kidney", "right_kidney")
    assert summary.findings == ()


def test_findings_are_counted_by_case(make_case, make_manifest):
    twice = (Finding("class_absent", "liver"), Finding("class_absent", "spleen"))
    manifest = make_manifest(
        [
            make_case("a/1", findings=twice),
            make_case("a/2", findings=(*twice, Finding("no_kidney", ""))),
            make_case("b/1", findings=twice[:1]),
            make_case("b/2"),
        ]
    )
    assert summary_of(manifest).findings == (
        FindingCount("class_absent", MEANINGS["class_absent"], {"a": 2, "b": 1}),
        FindingCount("no_kidney", MEANINGS["no_kidney"], {"a": 1}),
    )


def test_finding_of_later_is_counted(make_case, make_manifest):
    manifest, field = make_manifest([make_case()]), SCHEMA.field("findings")
    later = pa.array([[{"code": "later", "reason": ""}]], field.type)
    table = manifest.table.set_column(SCHEMA.get_field_index("findings"), field, later)
    (found,) = summary_of(manifest.with_table(table)).findings
    assert found == FindingCount("later", UNKNOWN_CODE, {"btcv": 1})


def test_empty_manifest(make_manifest):
    summary = summary_of(make_manifest([]))
    assert (summary.cases, summary.datasets, summary.findings) == (0, (), ())


def test_json_is_what_is_counted(summary):
    found = json.loads(summary.to_json())
    assert found["cases"] == 5
    assert found["datasets"][0]["classes"][0] == {
        **{"name": "liver", "annotated": 3, "present": 2, "absent": 1, "not_annotated": 0}
    }
    assert found["datasets"][0]["source_spacing_mm"]["greatest"] == [0.9, 0.8, 5.0]


@pytest.mark.parametrize("spacing_mm", [(math.nan,) * 3, (math.inf,) * 3, ()])
def test_json_has_null_for_what_is_no_number(make_case, make_manifest, spacing_mm):
    summary = summary_of(make_manifest([make_case(source_spacing_mm=spacing_mm)]))
    found = json.loads(summary.to_json(), parse_constant=pytest.fail)
    assert found["datasets"][0]["source_spacing_mm"]["least"] == [None] * 3


organs = st.sampled_from([c.structures for c in ABDOMEN5.classes])
cases = st.tuples(
    st.sampled_from("ab"),
    st.one_of(st.lists(organs, unique=True), st.just(KIDNEYS_AS_ONE)),
    st.sets(st.sampled_from(ABDOMEN5.names[1:])),
    st.sampled_from(["train", "validation", "test", None]),
)


@settings(max_examples=40)
@given(st.lists(cases, max_size=12))
def test_counts_are_those_of_counting_case_by_case(make_case, make_manifest, rows):
    made = [
        make_case(f"{dataset}/{i}", blocks=blocks, absent=absent, split=split)
        for i, (dataset, blocks, absent, split) in enumerate(rows)
    ]
    counted = Counter()
    for case in made:
        counted[case.dataset, "cases"] += 1
        counted[case.dataset, case.split or "unassigned"] += 1
        for n, name in enumerate(ABDOMEN5.names):
            if name in case.annotated:
                counted[case.dataset, name, "present" if case.voxels[n] else "absent"] += 1
            elif n:
                counted[case.dataset, name, "not_annotated"] += 1

    found = Counter()
    for d in summary_of(make_manifest(made)).datasets:
        found[d.name, "cases"] = d.cases
        found.update({(d.name, split): n for split, n in d.splits.items()})
        for c in d.classes:
            assert c.annotated == c.present + c.absent == d.cases - c.not_annotated
            for word in ("present", "absent", "not_annotated"):
                found[d.name, c.name, word] = getattr(c, word)
    assert +found == counted
