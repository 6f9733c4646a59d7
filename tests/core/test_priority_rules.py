"""Preferred leaders (`raft_core.priorities`): the golden scripts show the courses; here stand the rules one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from raft_core import (
    AppendEntriesResult,
    ConfigurationProposed,
    ElectionTimeout,
    HeartbeatTimeout,
    Leader,
    PeerRestarted,
    Proposed,
    Send,
    Server,
    ServerId,
    Settings,
    TimeoutNow,
    TransferEnded,
    TransferRefused,
    TransferRequested,
    configuration,
    received,
    step,
)
from raft_core.configuration import Configuration, configuration_entry, decode_configuration
from raft_core.messages import RequestVote
from raft_core.priorities import PATIENCE

Build = Callable[..., Server]
QUICK = Settings(pre_vote=False, election_timeout=50, heartbeat_interval=50, max_promotion_lag=2)
"""A heartbeat for each election timeout."""
FIRST = PATIENCE + 1
"""Heartbeats until the first transfer: one finds the better leader, the others see it again."""


def ranked(elect: Build, agree: Callable[[Server], Server], priorities: dict[ServerId, int], size: int = 3) -> Server:
    """A leader with these priorities; everybody has everything."""
    server = elect(size, settings=QUICK)
    wish = ConfigurationProposed(1, server.configuration.voters, (), None, tuple(priorities.items()))
    return agree(step(agree(server), wish).server)


def answered(server: Server, who: Iterable[ServerId]) -> Server:
    for name in who:
        result = AppendEntriesResult(server.current_term, True, 0, server.log.last_index)
        server = step(server, received(name, result)).server
    return server


def beats(server: Server, count: int, answering: Iterable[ServerId] = ("n2", "n3")) -> tuple[Server, list[ServerId]]:
    """After so many heartbeats, each answered; and who was told to campaign."""
    told: list[ServerId] = []
    for _ in range(count):
        server, effects = step(server, HeartbeatTimeout())
        told += [e.to for e in effects if isinstance(e, Send) and isinstance(e.message, TimeoutNow)]
        server = answered(server, answering)
    return server, told


def checked(server: Server) -> Server:
    """The leader counts heads: from now on nobody was heard."""
    return step(server, ElectionTimeout(0)).server


def leader_of(server: Server) -> Leader:
    assert isinstance(server.role, Leader)
    return server.role


def test_a_better_voter_is_handed_leadership_after_it_was_there_long_enough(
    elect: Build, agree: Callable[[Server], Server]
) -> None:
    server, told = beats(ranked(elect, agree, {"n2": 5}), FIRST - 1)
    assert told == []
    assert beats(server, 1)[1] == ["n2"]


def test_nobody_asked_so_nobody_is_told_of_its_end(elect: Build, agree: Callable[[Server], Server]) -> None:
    server, _ = beats(ranked(elect, agree, {"n2": 5}), FIRST)
    transfer = leader_of(server).transfer
    assert transfer is not None and transfer.transfer_id is None
    effects = step(server, received("n2", RequestVote(2, "n2", 2, 1, True))).effects
    assert not any(isinstance(effect, TransferEnded) for effect in effects)
    effects = step(server, ElectionTimeout(0)).effects
    assert not any(isinstance(effect, TransferRefused) for effect in effects)


def test_equal_or_lower_priorities_change_nothing(elect: Build, agree: Callable[[Server], Server]) -> None:
    for priorities in ({}, {"n2": 0, "n3": 0}, {"n1": 7, "n2": 7}):
        server = ranked(elect, agree, priorities)
        after, told = beats(server, 3 * FIRST)
        assert told == [] and leader_of(after).preference is None


def test_a_leader_of_priority_0_hands_over_to_anybody(elect: Build, agree: Callable[[Server], Server]) -> None:
    assert beats(ranked(elect, agree, {"n1": 0}), FIRST)[1] == ["n2"]


def test_the_best_of_those_who_can_lead_is_wished_for(elect: Build, agree: Callable[[Server], Server]) -> None:
    """Not the best of all: if that one is dead, the second best shall lead."""
    server = ranked(elect, agree, {"n2": 5, "n3": 9})
    assert beats(server, FIRST)[1] == ["n3"]
    assert beats(checked(server), FIRST + 1, ["n2"])[1] == ["n2"]


def test_a_learner_is_not_wished_for(elect: Build, agree: Callable[[Server], Server]) -> None:
    server = elect(3, settings=QUICK)
    wish = ConfigurationProposed(1, ("n1", "n3"), ("n2",), None, (("n2", 5),))
    server = agree(step(agree(server), wish).server)
    assert server.configuration.priority("n2") == 5
    assert beats(server, 3 * FIRST)[1] == []


def test_one_silent_heartbeat_says_nothing_two_begin_the_count_anew(
    elect: Build, agree: Callable[[Server], Server]
) -> None:
    """For being heard is forgotten with each check of the quorum."""
    server, _ = beats(ranked(elect, agree, {"n2": 5}), FIRST - 1)
    once, told = beats(checked(server), 1)
    assert told == [] and beats(once, 1)[1] == ["n2"]
    twice, told = beats(checked(server), 2, ["n3"])
    assert told == []
    wish = leader_of(twice).preference
    assert wish is not None and wish.heartbeats == 0
    assert beats(answered(twice, ["n2"]), PATIENCE - 1)[1] == []


def test_a_voter_that_lacks_too_much_or_is_being_probed_is_not_wished_for(
    elect: Build, agree: Callable[[Server], Server]
) -> None:
    server = ranked(elect, agree, {"n2": 5})
    behind = step(server, Proposed(7, (b"a", b"b", b"c"))).server
    assert beats(behind, 2 * FIRST, ["n3"])[1] == []
    probing = step(server, PeerRestarted("n2")).server
    assert beats(probing, 2 * FIRST, ["n3"])[1] == []


def test_it_waits_twice_as_long_after_each_failure_but_not_for_ever(
    elect: Build, agree: Callable[[Server], Server]
) -> None:
    server, told = beats(ranked(elect, agree, {"n2": 5}), FIRST)
    assert told == ["n2"]
    for failures in range(1, 9):
        server = answered(checked(server), ["n2", "n3"])
        assert leader_of(server).transfer is None
        wait = PATIENCE << min(failures, 6)
        server, told = beats(server, wait - 1)
        assert told == [], f"too early after {failures} failures"
        server, told = beats(server, 1)
        assert told == ["n2"], f"too late after {failures} failures"


def test_what_failed_is_remembered_while_the_better_one_is_away(
    elect: Build, agree: Callable[[Server], Server]
) -> None:
    server, _ = beats(ranked(elect, agree, {"n2": 5}), FIRST)
    server, _ = beats(answered(checked(server), ["n3"]), 3, ["n3"])
    wish = leader_of(server).preference
    assert wish is not None and (wish.heartbeats, wish.failures) == (0, 1)


def test_no_handing_over_while_something_else_is_under_way(elect: Build, agree: Callable[[Server], Server]) -> None:
    server, _ = beats(ranked(elect, agree, {"n2": 5}), FIRST - 1)
    changing = step(server, ConfigurationProposed(2, ("n1", "n2"), ())).server
    assert step(changing, HeartbeatTimeout()).server.role.transfer is None  # type: ignore[union-attr]
    transferring = step(server, TransferRequested(3, "n3")).server
    after = leader_of(step(transferring, HeartbeatTimeout()).server)
    assert after.transfer is not None and after.transfer.transfer_id == 3


def test_members_keep_their_priorities_unless_a_change_says_otherwise(
    elect: Build, agree: Callable[[Server], Server]
) -> None:
    server = ranked(elect, agree, {"n2": 5, "n3": 0})
    fewer = step(server, ConfigurationProposed(2, ("n1", "n2"), ())).server
    assert fewer.configuration.priorities == (("n2", 5),), "who left has none any more"
    joint = step(server, ConfigurationProposed(3, ("n2", "n4"), ())).server
    assert joint.configuration.is_joint or joint is server
    none = step(server, ConfigurationProposed(4, ("n1", "n2", "n3"), (), None, ())).server
    assert none.configuration.priorities == ()


def test_a_configuration_with_priorities_survives_joint_consensus_and_its_own_bytes() -> None:
    members = configuration(["n2", "n1"], ["n3"], [("n3", 4), ("n2", 0), ("n1", 1), ("stranger", 9)])
    assert members.priorities == (("n2", 0), ("n3", 4)), "sorted, without the usual ones and without strangers"
    assert [members.priority(name) for name in ("n1", "n2", "n3")] == [1, 0, 4]
    joint = replace(members, old_voters=("n9",))
    assert joint.after_joint() == members
    assert decode_configuration(configuration_entry(1, joint).command) == joint


def test_a_configuration_written_before_there_were_priorities_can_be_read() -> None:
    before = bytes.fromhex("93 92 a26e31 a26e32 90 90".replace(" ", ""))
    assert decode_configuration(before) == Configuration(("n1", "n2"))
