"""The review: verdicts of several reviewers, joined into the overrides that `prepare` reads."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from curate.cases.decisions import SIDES_EXCHANGED
from curate.cases.overrides import Override
from curate.review.verdicts import Verdict
from manifests.ground.errors import OverrideError
from manifests.table.case import Case

MADE_WITH = ("overridden", "kidneys_overridden")
_IN_EVERY = ("reason", "source_label_sha256")


@dataclass
class Review:
    """What the verdicts come to.

    Attributes:
        overrides: The earlier ones, with what was settled in their place.
        settled: Verdicts that became overrides, the latest where several agree.
        doubts: Verdicts of "doubt" on which everybody agrees.
        disagreements: Verdicts on cases that reviewers decided differently on.
        outdated: Verdicts on labels that are other ones by now.
        unknown: Verdicts on cases that the manifest lacks, without those to be left out.
    """

    overrides: dict[str, Override]
    settled: list[Verdict] = field(default_factory=list[Verdict])
    doubts: list[Verdict] = field(default_factory=list[Verdict])
    disagreements: list[Verdict] = field(default_factory=list[Verdict])
    outdated: list[Verdict] = field(default_factory=list[Verdict])
    unknown: list[Verdict] = field(default_factory=list[Verdict])


def join_verdicts(
    verdicts: Sequence[Verdict], cases: Mapping[str, Case], earlier: Mapping[str, Override]
) -> Review:
    """Settle what reviewers agree on.

    Args:
        verdicts: The latest of each reviewer on each case.
        cases: The manifest's cases that there are verdicts on, by id.
        earlier: The overrides that the cases were made with.

    Raises:
        OverrideError: A case was made with an override that is not among the earlier ones, and
            would be lost.
    """
    review = Review(dict(earlier))
    _refuse_loss(cases.values(), earlier)
    for case_id, group in groupby(sorted(verdicts, key=_of_case), key=_of_case):
        current, case = [], cases.get(case_id)
        for verdict in group:
            if case is None and verdict.verdict != "leave_out":
                review.unknown.append(verdict)
            elif case is not None and _is_outdated(verdict, case):
                review.outdated.append(verdict)
            else:
                current.append(verdict)
        _settle(review, current, earlier.get(case_id))
    return review


def as_toml(overrides: Mapping[str, Override]) -> str:
    """Return the file that `prepare --overrides` reads."""
    # JSON writes strings, numbers, true and lists of strings as TOML does
    lines: list[str] = []
    for case_id, override in sorted(overrides.items()):
        facts: dict[str, Any] = override.model_dump(mode="json", exclude_defaults=True)
        lines += [f"[{json.dumps(case_id)}]", *(f"{k} = {json.dumps(v)}" for k, v in facts.items())]
        lines.append("")
    return "\n".join(lines)


def _of_case(verdict: Verdict) -> str:
    return verdict.case_id


def _refuse_loss(cases: Iterable[Case], earlier: Mapping[str, Override]) -> None:
    made_with = [c for c in cases if any(f.code in MADE_WITH for f in c.findings)]
    if lost := sorted(c.case_id for c in made_with if c.case_id not in earlier):
        msg = (
            f"{lost[0]}: the case was made with an override, which would be lost: expected it "
            f"among the earlier overrides; give their file with --overrides"
        )
        raise OverrideError(msg)


def _is_outdated(verdict: Verdict, case: Case) -> bool:
    """Tell whether a label is another one by now, but for what the verdict itself decided."""
    if verdict.source_label_sha256 != case.source_label_sha256:
        return True
    changes = verdict.verdict in ("sides_swapped", "not_annotated")
    carried_out = changes and any(f.code == "overridden" for f in case.findings)
    return verdict.label_sha256 != case.label_sha256 and not carried_out


def _settle(review: Review, verdicts: Sequence[Verdict], earlier: Override | None) -> None:
    if not verdicts:
        return
    latest = max(verdicts, key=lambda v: v.time)
    decided = _decision(latest, earlier)
    others = (_decision(v, earlier) for v in verdicts)
    if any(_without_words(other) != _without_words(decided) for other in others):
        review.disagreements += verdicts
    elif decided is None:
        review.doubts += verdicts
    else:
        review.settled.append(latest)
        review.overrides[latest.case_id] = decided


def _decision(verdict: Verdict, earlier: Override | None) -> Override | None:
    """Return what a verdict makes of a case and its earlier override; None for a doubt."""
    facts: dict[str, Any] = {"reason": verdict.words}
    facts["source_label_sha256"] = verdict.source_label_sha256
    before = earlier.model_dump(exclude_defaults=True) if earlier and not earlier.skip else {}
    facts = {**before, **facts}
    if verdict.verdict == "doubt":
        return None
    if verdict.verdict == "leave_out":
        return Override(skip=True, **{name: facts[name] for name in _IN_EVERY})
    if verdict.verdict == "keep":
        facts["keep"] = True
    elif verdict.verdict == "not_annotated":
        names = {*before.get("not_annotated", ()), *verdict.classes}
        facts["not_annotated"] = tuple(sorted(names))
    elif any(SIDES_EXCHANGED in done for done in verdict.overrides):
        facts["swap_sides"] = False  # they had been exchanged, and were right before
        facts["keep"] = True
    else:
        facts["swap_sides"] = True
    return Override(**facts)


def _without_words(override: Override | None) -> Override | None:
    return override and override.model_copy(update={"reason": "-"})
