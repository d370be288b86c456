"""The history of decisions about runs: the table `publications`, and the way back along it.

Light on purpose: verbs that only look need it.
"""

import dataclasses
import datetime
import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class Action(str, enum.Enum):
    """What was decided about a run, as in the column `action`."""

    PUBLISHED = "PUBLISHED"
    """By the job: the gate let it pass, or it was superseded and asked for again."""
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    ROLLED_BACK = "ROLLED_BACK"
    """The run was put back in the place of the replaced one."""


@dataclass(frozen=True)
class Decision:
    """What is about to be recorded; the warehouse adds who and when.

    Attributes:
        action: what is decided.
        reason: why, in the words of whoever decides.
    """

    action: Action
    reason: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Of the statements that record it."""
        return {"action": self.action.value, "reason": self.reason}


@dataclass(frozen=True)
class Publication:
    """A row of the table `publications`; the fields are its columns."""

    run_id: str
    job: str
    period: datetime.date
    at: datetime.datetime
    action: Action
    by: str | None
    reason: str | None
    replaced_run_id: str | None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Publication":
        """From a row of the warehouse."""
        values = {field.name: record[field.name] for field in dataclasses.fields(cls)}
        at = values["at"].astimezone(datetime.UTC)
        return cls(**values | {"at": at, "action": Action(values["action"])})

    def to_json(self) -> dict[str, Any]:
        """The same with texts for dates and times."""
        return {
            **dataclasses.asdict(self),
            "period": self.period.isoformat(),
            "at": self.at.isoformat(),
            "action": self.action.value,
        }


def rolled_back_from(history: Sequence[Publication], run_id: str) -> Publication | None:
    """The rollback that took a run's place, where it was the last word about its period.

    The last word may be several rollbacks in a row, each further back or forward: whoever went from
    C to B and on to A left both. Once a job or an approval publishes after them, they are history.

    Args:
        history: all publications of a period, in their order.
        run_id: of a run that is superseded.
    """
    decided = [each for each in history if each.action is not Action.REJECTED]
    for publication in reversed(decided):
        if publication.action is not Action.ROLLED_BACK:
            return None
        if publication.replaced_run_id == run_id:
            return publication
    return None


@dataclass(frozen=True)
class _Place:
    """A publication, and the one that it followed: a place in the tree of publications."""

    run_id: str
    before: "_Place | None"


def previous_run(history: Sequence[Publication], candidates: Collection[str]) -> str | None:
    """The run that was published before the one that is published now.

    Each publication follows the one that was current then. Going back leads from a publication to
    the one that it followed, so repeating it goes further back and never in a circle; what is
    published after a way back follows the run that was put back.

    Args:
        history: all publications of a period, in their order.
        candidates: runs that can be put back; others on the way are passed over.

    Returns:
        The run's id; None where there is none before.
    """
    now: _Place | None = None
    places: list[_Place] = []
    for publication in history:
        if publication.action is Action.REJECTED:
            continue
        back = None
        if publication.action is Action.ROLLED_BACK:
            back = _way_to(publication.run_id, now, places)
        now = back or _Place(publication.run_id, now)
        places.append(now)
    while now is not None:
        now = now.before
        if now is not None and now.run_id in candidates:
            return now.run_id
    return None


def _way_to(run_id: str, now: _Place | None, places: Sequence[_Place]) -> _Place | None:
    """The nearest place of a run before the current one, else its latest place."""
    place = now
    while place is not None:
        place = place.before
        if place is not None and place.run_id == run_id:
            return place
    return next((place for place in reversed(places) if place.run_id == run_id), None)
