"""Verdicts of reviewers: which of them become overrides, and which are only listed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

import curate.commands
from curate.cases.overrides import Override, load_overrides
from curate.review.review import as_toml, join_verdicts
from curate.review.verdicts import Verdict, read_verdicts
from manifests.ground.errors import OverrideError
from manifests.ground.findings import Finding

START = datetime(2026, 11, 1, tzinfo=UTC)
SWAPPED = Finding("overridden", "sides exchanged: seen")


@pytest.fixture
def case(make_case):
    return make_case("btcv/1")


def verdict(case, kind, *, reviewer="Ada", hours=0, **facts):
    return Verdict(
        **{
            "case_id": case.case_id,
            "verdict": kind,
            "reviewer": reviewer,
            "time": START + timedelta(hours=hours),
            "label_sha256": case.label_sha256,
            "source_label_sha256": case.source_label_sha256,
            **facts,
        }
    )


def joined(*verdicts, case, earlier=None):
    return join_verdicts(verdicts, {case.case_id: case}, earlier or {})


@pytest.mark.parametrize(
    ("kind", "facts", "decided"),
    [
        ("keep", {}, {"keep": True}),
        ("leave_out", {"text": "another patient"}, {"skip": True}),
        ("sides_swapped", {}, {"swap_sides": True}),
        ("not_annotated", {"classes": ["spleen"]}, {"not_annotated": ("spleen",)}),
    ],
)
def test_each_verdict_becomes_an_override_on_that_label(case, kind, facts, decided):
    review = joined(verdict(case, kind, **facts), case=case)
    override = review.overrides["btcv/1"]
    expected = {**decided, "source_label_sha256": case.source_label_sha256}
    assert override.model_dump(exclude_defaults=True, exclude={"reason"}) == expected
    assert "Ada, 2026-11-01" in override.reason
    assert facts.get("text", "") in override.reason


def test_what_is_written_is_what_prepare_reads(case, tmp_path):
    earlier = {"kits19/case_00005": Override(kidneys="merged", reason='fused "crossed"')}
    review = joined(
        verdict(case, "not_annotated", classes=["spleen", "liver"]), case=case, earlier=earlier
    )
    path = tmp_path / "decisions.toml"
    path.write_text(as_toml(review.overrides))
    assert load_overrides(path) == review.overrides
    assert set(review.overrides) == {"btcv/1", "kits19/case_00005"}


def test_a_doubt_decides_nothing_and_reviewers_who_disagree_neither(case):
    doubt = joined(verdict(case, "doubt"), case=case)
    assert (doubt.overrides, len(doubt.doubts)) == ({}, 1)
    two = [verdict(case, "keep"), verdict(case, "leave_out", reviewer="Ben", hours=1)]
    review = joined(*two, case=case)
    assert (review.overrides, review.disagreements) == ({}, two)


def test_reviewers_who_agree_settle_a_case_whatever_their_words(case):
    two = [verdict(case, "keep", text="fine"), verdict(case, "keep", reviewer="Ben", hours=1)]
    review = joined(*two, case=case)
    assert review.settled == [two[1]]
    assert review.overrides["btcv/1"].keep


def test_another_label_asks_again(case):
    old = verdict(case, "leave_out", source_label_sha256="0" * 64)
    assert joined(old, case=case).outdated == [old]
    remade = verdict(case, "keep", label_sha256="0" * 64)
    review = joined(remade, case=case)
    assert (review.outdated, review.overrides) == ([remade], {})


def test_exchanged_sides_are_never_exchanged_back_by_the_same_verdict(make_case, case):
    swap = verdict(case, "sides_swapped")
    first = joined(swap, case=case).overrides
    # prepare has exchanged them: the label is another one, and says so
    after = make_case("btcv/1", findings=(SWAPPED,), label_sha256="a" * 64)
    again = joined(swap, case=after, earlier=first).overrides
    assert again == first
    # who sees them now and says they are swapped wants them back
    back = verdict(after, "sides_swapped", reviewer="Ada", hours=2, overrides=[SWAPPED.reason])
    override = joined(back, case=after, earlier=first).overrides["btcv/1"]
    assert (override.swap_sides, override.keep) == (False, True)
    # and two people who say both do not agree
    other = verdict(after, "sides_swapped", reviewer="Ben", hours=2, overrides=[SWAPPED.reason])
    assert len(joined(swap, other, case=after, earlier=first).disagreements) == 2


def test_a_kept_case_keeps_what_was_decided_before(make_case, case):
    first = joined(verdict(case, "sides_swapped"), case=case).overrides
    after = make_case("btcv/1", findings=(SWAPPED,), label_sha256="a" * 64)
    keep = verdict(after, "keep", reviewer="Ben", overrides=[SWAPPED.reason])
    override = joined(keep, case=after, earlier=first).overrides["btcv/1"]
    assert (override.swap_sides, override.keep) == (True, True)
    with pytest.raises(OverrideError, match="give their file with --overrides"):
        joined(keep, case=after)


def test_a_case_that_was_left_out_stays_so(case):
    skip = verdict(case, "leave_out")
    assert join_verdicts([skip], {}, {}).overrides["btcv/1"].skip
    assert join_verdicts([verdict(case, "keep")], {}, {}).unknown


def write(path, *verdicts):
    content = {"format": "marginalia verdicts 1", "report": "x", "verdicts": list(verdicts)}
    path.write_text(json.dumps(content))
    return path


def test_the_latest_verdict_of_a_reviewer_counts(case, tmp_path):
    early, late = verdict(case, "keep"), verdict(case, "leave_out", hours=5)
    files = [
        write(tmp_path / "b.json", late.model_dump(mode="json")),
        write(tmp_path / "a.json", early.model_dump(mode="json")),
    ]
    assert read_verdicts(files) == [late]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "burn"}, "verdict"),
        ({"label_sha256": "../x"}, "label_sha256"),
        ({"time": "yesterday"}, "time"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_no_verdict_is_refused(case, tmp_path, change, said):
    row = verdict(case, "keep").model_dump(mode="json") | change
    with pytest.raises(OverrideError, match=said):
        read_verdicts([write(tmp_path / "a.json", row)])


@pytest.mark.parametrize("text", ["{}", "[", "[" * 100_000, '{"format": "other", "verdicts": []}'])
def test_what_is_no_file_of_verdicts_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(OverrideError, match="verdicts"):
        read_verdicts([tmp_path / "a.json"])


def test_the_command_writes_over_nothing(case, tmp_path, make_manifest, save_manifest):
    manifest = save_manifest(make_manifest([case], folder=tmp_path))
    file = write(tmp_path / "a.json", verdict(case, "keep").model_dump(mode="json"))
    words = ["review", str(manifest), str(file), "--out", str(tmp_path / "decisions.toml")]
    done = CliRunner().invoke(curate.commands.app, [*words, "--dry-run"])
    assert "settled" in done.output
    assert not (tmp_path / "decisions.toml").exists()
    assert CliRunner().invoke(curate.commands.app, words).exit_code == 0
    assert load_overrides(tmp_path / "decisions.toml")["btcv/1"].keep
    again = CliRunner().invoke(curate.commands.app, words)
    assert again.exit_code == 2
    assert "exists" in again.output
