"""Relations: what is known of datasets, and what becomes of the cases that are tied."""

import pytest
from pydantic import ValidationError

from curate.duplicates.known_relations import Member, known_relations
from curate.duplicates.relations import Relation, with_relations
from tests.curate.duplicates.rows import row


def pairs(*ids):
    return {(a, b) for a, b, _ in known_relations().pairs(map(row, ids))}


def test_kits_share_their_numbers():
    ids = ["kits19/case_00003", "kits23/case_00003", "kits21/case_00003", "kits23/case_00004"]
    assert pairs(*ids) == {
        (ids[0], ids[2]),
        (ids[0], ids[1]),
        (ids[2], ids[1]),
    }


@pytest.mark.parametrize(
    ("ids", "tied"),
    [
        (("msd_liver/liver_28", "ircadb/1"), True),
        (("msd_liver/liver_44", "ircadb/3Dircadb1.17"), True),
        (("lits/volume-30", "ircadb/patient3"), True),
        (("msd_liver/liver_28", "ircadb/2"), False),
        (("msd_liver/liver_27", "ircadb/0"), False),
        (("msd_liver/liver_45", "ircadb/18"), False),
        (("msd_liver/liver_7", "lits/volume-7"), True),
        (("msd_liver/liver_7", "lits/segmentation-7"), False),
        (("msd_liver/liver_7", "kits19/case_00007"), False),
        (("msd_spleen/spleen_7", "msd_pancreas/pancreas_007"), False),
    ],
)
def test_lits_and_ircadb(ids, tied):
    assert bool(pairs(*ids)) == tied


@pytest.mark.parametrize("case", [r"case_\d+", r"(a)(\d+)", "(", ""])
def test_a_pattern_has_one_group(case):
    with pytest.raises(ValidationError, match="case"):
        Member(dataset="mine", case=case)


def test_tied_cases_get_one_subject_and_findings():
    ties = [
        Relation("b/1", "c/1", "duplicate_image", "seen"),
        Relation("a/1", "c/1", "same_patient", "told"),
    ]
    cases = with_relations([row(n) for n in ("a/1", "b/1", "c/1", "d/1")], ties)
    assert [c.subject_id for c in cases] == ["a/1", "a/1", "a/1", "d/1"]
    assert [c.related for c in cases] == [("c/1",), ("c/1",), ("a/1", "b/1"), ()]
    assert [[(f.code, f.reason) for f in c.findings] for c in cases] == [
        [("same_patient", "c/1: told")],
        [("duplicate_image", "c/1: seen")],
        [("same_patient", "a/1: told"), ("duplicate_image", "b/1: seen")],
        [],
    ]
