"""A sole voter elects itself within a step: before its term is on its disk nobody may hear of it (Figure 2)."""

from __future__ import annotations

from raft_core import (
    AppendEntries,
    ElectionTimeout,
    HeartbeatTimeout,
    Leader,
    LogPersisted,
    PeerRestarted,
    Send,
    Server,
    Settings,
    TransferRequested,
    restore,
    step,
)
from raft_core.effects import Effect


def _sends(effects: tuple[Effect, ...]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def _elected() -> Server:
    server = restore("n1", ["n1"], Settings(), randomness=0, learners=["n2"])
    server, effects = step(server, ElectionTimeout(0))
    assert isinstance(server.role, Leader) and not _sends(effects)
    return server


def test_a_sole_voter_speaks_to_its_learners_once_its_term_is_on_its_disk() -> None:
    server = _elected()
    for event in (HeartbeatTimeout(), PeerRestarted("n2"), TransferRequested(1)):
        server, effects = step(server, event)
        assert not _sends(effects)
    server, effects = step(server, LogPersisted(1, 1))
    (send,) = _sends(effects)
    assert send.to == "n2" and isinstance(send.message, AppendEntries) and len(send.message.entries) == 1
    assert server.commit_index == 1


def test_what_was_written_in_an_older_term_does_not_let_it_speak() -> None:
    server, effects = step(_elected(), LogPersisted(1, 0))
    assert isinstance(server.role, Leader) and not _sends(effects)
