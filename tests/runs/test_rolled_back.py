"""Which runs a person has left, by the history of a period's publications."""

import datetime

import pytest

from beam_jobs.publish.decisions import approve, left_by_rollback, publish_again, rollback
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.publications import Action, Publication, rolled_back_from
from beam_jobs.runs.run_row import RunStatus
from support.publishing import OCTOBER, write_run


def history(text: str) -> list[Publication]:
    """`a b>a`: a was published, then b in the place of a.

    `<` stands for a rollback, `x` for a rejection, `!` for an approval.
    """
    actions = {
        ">": Action.PUBLISHED, "<": Action.ROLLED_BACK, "!": Action.APPROVED, "x": Action.REJECTED,
    }  # fmt: skip
    found = []
    for hour, word in enumerate(text.split()):
        at = datetime.datetime(2026, 11, 2, hour, tzinfo=datetime.UTC)
        action = actions[word[1]] if len(word) > 1 else Action.PUBLISHED
        row = Publication(word[0], "monthly", OCTOBER, at, action, "ann", None, word[2:] or None)
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("decided", "left"),
    [
        ("", ""),
        ("a b>a", ""),
        ("a b>a a<b", "b"),
        ("a b>a a<b cx", "b"),
        ("a b>a a<b c>a", ""),
        ("a b>a a<b c!a", ""),
        ("a b>a a<b b<a", "ab"),
        ("a b>a c>b b<c a<b", "bc"),
        ("a b>a c>b a<c", "c"),
        ("a b>a a<b b>a a<b", "b"),
    ],
)
def test_a_run_is_left_until_something_else_is_published(decided: str, left: str) -> None:
    found = [run for run in "abc" if rolled_back_from(history(decided), run) is not None]
    assert found == list(left)


def test_a_run_is_left_by_the_person_and_for_the_run_of_the_last_rollback_from_it(
    warehouse: RunCatalog, tmp_path: object
) -> None:
    def make(name: str, order: int, status: RunStatus = RunStatus.PUBLISHED) -> None:
        publish_run(warehouse, *write_run(f"{tmp_path}/runs", name, order=order, status=status))

    def left(name: str) -> str:
        return left_by_rollback(warehouse, warehouse.find_run(name))

    assert left_by_rollback(warehouse, None) == ""
    make("a", 0)
    make("b", 1)
    assert left("a") == ""  # another run replaced it
    rollback(warehouse, "monthly", OCTOBER, reason="wrong prices")
    assert (left("a"), " rolled back from it to a at " in left("b")) == ("", True)
    assert " UTC (wrong prices); `beam-jobs rollback --month 2026-10 --to b` publishes" in left("b")
    make("c", 2, RunStatus.HELD)
    assert left("c") == ""
    approve(warehouse, "c")
    assert left("b") == ""
    assert publish_again(warehouse, warehouse.find_run("b")).status is RunStatus.PUBLISHED
