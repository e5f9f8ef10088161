"""What is told of teaching: the part, what is under way, the versions of every bundle."""

from __future__ import annotations

from edge_app.api.service import Service
from edge_app.screens.folders import folders_below
from edge_app.teaching.draft import Draft
from edge_app.teaching.teach_answers import (
    DraftPicture,
    DraftState,
    JobState,
    LineVersions,
    TeachState,
    VersionState,
)
from edge_app.teaching.teacher import Teacher


def shown_state(
    service: Service, teacher: Teacher, client: str, refused: list[str] | None = None
) -> TeachState:
    """The part that is being taught, what is under way, and every bundle's versions."""
    job, draft = teacher.jobs.now, teacher.drafts.now
    return TeachState(
        lines=[_versions(service, teacher, name) for name in service.lines],
        folders=folders_below(service),
        draft=None if draft is None else _draft(teacher, draft, client),
        job=JobState(**vars(job)),
        trial=teacher.trial,
        memory=JobState(**vars(teacher.memory.now)),
        refused=refused or [],
    )


def _draft(teacher: Teacher, draft: Draft, client: str) -> DraftState:
    pictures = [
        DraftPicture(one.number, one.name, *teacher.seen(one.file), one.out)
        for one in draft.pictures
    ]
    gain, enough = teacher.gain
    return DraftState(
        draft.line,
        draft.part,
        draft.who,
        draft.begun,
        draft.client == client,
        draft.add,
        pictures,
        gain,
        enough,
    )


def _drift(service: Service, name: str) -> str:
    states = [] if service.board is None else service.board.states()
    found = next((one.drift for one in states if one.bundle == name and one.drift), "")
    alarm = service.lines[name].alarm
    return found or ("" if alarm is None else alarm.sentence())


def _versions(service: Service, teacher: Teacher, name: str) -> LineVersions:
    drift = _drift(service, name)
    versions = teacher.versions(name)
    pointer = versions.pointer()
    first = VersionState("", "", "", "", 0, not pointer.live)
    others = [
        VersionState(one, about.part, about.made, about.who, about.pictures, one == pointer.live)
        for one, about in versions.all()
    ]
    blank = service.lines[name].is_blank
    return LineVersions(
        name, teacher.teachable(name), blank, drift, [first, *others], bool(pointer.before)
    )
