"""Changing the members: paper 6, thesis 4.  The golden scripts show the courses; here stand the rules one by one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Configuration,
    ConfigurationAccepted,
    ConfigurationChanged,
    ConfigurationCommitted,
    ConfigurationProposed,
    ConfigurationRefusal,
    ConfigurationRefused,
    Configured,
    ElectionTimeout,
    Entry,
    EntryKind,
    HeartbeatTimeout,
    Ignored,
    Leader,
    LogPersisted,
    RequestVote,
    RequestVoteResult,
    Send,
    Server,
    Settings,
    VoteOutcome,
    configuration,
    follower,
    received,
    restore,
    step,
)
from raft_core.configuration import configuration_entry, configured, decode_configuration
from raft_core.quorum import election_outcome, is_quorum, quorum_reached, slowly_vote_outcome

Build = Callable[..., Server]
NAMES = [f"n{number}" for number in range(1, 7)]

members = st.builds(
    lambda new, old: Configuration(tuple(sorted(new)), (), tuple(sorted(old))),
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.sets(st.sampled_from(NAMES)),
)


def _ready(elect: Build, size: int = 3) -> Server:
    """A leader who has committed the no-op of its term."""
    leader = step(elect(size), LogPersisted(1, 1)).server
    for number in range(2, size // 2 + 2):
        leader = step(leader, received(f"n{number}", AppendEntriesResult(1, True, 0, 1))).server
    assert leader.commit_index == 1
    return leader


# --- Quorums (paper 6: "separate majorities from both the old and new configurations").


@given(members, st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_a_joint_election_needs_both_majorities(joint: Configuration, granted: set[str], refused: set[str]) -> None:
    sides = [joint.voters, joint.old_voters] if joint.old_voters else [joint.voters]
    outcomes = {slowly_vote_outcome(side, granted, refused) for side in sides}
    if VoteOutcome.LOST in outcomes:
        expected = VoteOutcome.LOST
    elif VoteOutcome.PENDING in outcomes:
        expected = VoteOutcome.PENDING
    else:
        expected = VoteOutcome.WON
    assert election_outcome(joint, granted, refused) is expected


@given(members, st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9)))
def test_what_is_reached_is_reached_by_a_majority_of_each_side(joint: Configuration, reached: dict[str, int]) -> None:
    value = quorum_reached(joint, reached)
    at_least = {name for name in NAMES if reached.get(name, 0) >= value}
    more = {name for name in NAMES if reached.get(name, 0) > value}
    assert is_quorum(joint, at_least)
    assert not is_quorum(joint, more)


@given(members, st.data())
def test_two_quorums_of_one_configuration_meet(joint: Configuration, data: st.DataObject) -> None:
    sets = st.sets(st.sampled_from(NAMES))
    one, other = data.draw(sets), data.draw(sets)
    if is_quorum(joint, one) and is_quorum(joint, other):
        assert one & other


def test_any_majorities_before_and_after_a_change_of_one_voter_meet() -> None:
    """Thesis 4.1: that is why a change of one voter needs no joint phase."""
    for size in range(1, 6):
        before, after = configuration(NAMES[:size]), configuration(NAMES[: size + 1])
        quorums = [
            {frozenset(q) for n in range(7) for q in combinations(NAMES, n) if is_quorum(c, set(q))}
            for c in (before, after)
        ]
        assert all(one & other for one in quorums[0] for other in quorums[1])


# --- Configurations as entries.


def test_a_configuration_survives_its_entry() -> None:
    joint = Configuration(("n1", "n4"), ("n5",), ("n1", "n2"))
    entry = configuration_entry(3, joint)
    assert (entry.term, entry.kind, decode_configuration(entry.command)) == (3, EntryKind.CONFIGURATION, joint)
    assert joint.servers == ("n1", "n2", "n4", "n5")
    assert [joint.has_voter(name) for name in joint.servers] == [True, True, True, False]


@pytest.mark.parametrize("command", [b"", b"\xff", b"\x93\x90\x90\x90", b"\x01"])
def test_bytes_that_name_no_members_are_not_taken_for_some(command: bytes) -> None:
    assert decode_configuration(command) is None
    assert configured([Entry(1, command, EntryKind.CONFIGURATION)], 1) is None


def test_an_append_that_names_members_unreadably_is_ignored() -> None:
    server = follower("n1", NAMES[:3], current_term=1)
    bad = AppendEntries(1, "n2", 0, 0, (Entry(1, b"?", EntryKind.CONFIGURATION),), 0)
    after, effects = step(server, received("n2", bad))
    assert after.log == server.log
    assert Ignored("it names members in bytes that cannot be read") in effects


def test_a_log_that_names_members_unreadably_is_no_log_to_start_from() -> None:
    entries = [Entry(1, b"?", EntryKind.CONFIGURATION)]
    with pytest.raises(ValueError, match="cannot be read"):
        restore("n1", NAMES[:3], Settings(), randomness=0, current_term=1, entries=entries)


def test_a_restarted_server_has_the_latest_members_of_its_log() -> None:
    entries = [configuration_entry(1, configuration(NAMES[:4])), configuration_entry(1, configuration(NAMES[:5]))]
    server = restore("n1", NAMES[:3], Settings(), randomness=0, current_term=1, entries=entries)
    assert server.configuration == configuration(NAMES[:5])
    assert [known.index for known in server.configurations] == [0, 1, 2]


# --- Proposing.


def test_a_change_of_one_voter_is_a_single_entry_in_force_at_once(elect: Build) -> None:
    leader = _ready(elect)
    after, effects = step(leader, ConfigurationProposed(7, ("n1", "n2", "n3", "n4")))
    assert after.configurations == (*leader.configurations, Configured(2, configuration(NAMES[:4])))
    assert ConfigurationAccepted(7, 2, 1) in effects
    assert ConfigurationChanged(2, configuration(NAMES[:4])) in effects
    assert {effect.to for effect in effects if isinstance(effect, Send)} == {"n2", "n4"}  # n3 is being probed


def test_a_larger_change_goes_through_a_joint_phase(elect: Build) -> None:
    after = step(_ready(elect), ConfigurationProposed(7, ("n1", "n4", "n5"))).server
    assert after.configuration == Configuration(("n1", "n4", "n5"), (), ("n1", "n2", "n3"))


def test_learners_change_without_a_joint_phase(elect: Build) -> None:
    after = step(_ready(elect), ConfigurationProposed(7, ("n1", "n2", "n3"), ("n4", "n5"))).server
    assert after.configuration == configuration(NAMES[:3], NAMES[3:5])


def test_the_same_members_again_are_accepted_without_an_entry(elect: Build) -> None:
    leader = _ready(elect)
    after, effects = step(leader, ConfigurationProposed(7, ("n3", "n2", "n1")))
    assert (after, effects) == (leader, (ConfigurationAccepted(7, 0, 1),))


def _refused(server: Server, event: ConfigurationProposed) -> ConfigurationRefusal:
    after, effects = step(server, event)
    (effect,) = effects
    assert isinstance(effect, ConfigurationRefused)
    assert after == server
    return effect.reason


def test_no_change_before_the_leader_has_committed_an_entry_of_its_term(elect: Build) -> None:
    """The bug of 2015: without this, two leaders could each change one voter, and their majorities need not meet."""
    assert _refused(elect(3), ConfigurationProposed(1, ("n1", "n2"))) is ConfigurationRefusal.TOO_EARLY


def test_one_change_at_a_time(elect: Build) -> None:
    changing = step(_ready(elect), ConfigurationProposed(1, tuple(NAMES[:4]))).server
    assert _refused(changing, ConfigurationProposed(2, ("n1", "n2"))) is ConfigurationRefusal.CHANGE_UNDER_WAY


def test_a_joint_phase_is_a_change_under_way_even_when_it_is_committed(elect: Build) -> None:
    leader = _ready(elect)
    joint = Configuration(("n1", "n2", "n3"), (), ("n1", "n2", "n4"))
    committed = replace(leader, configurations=(Configured(1, joint),))
    assert _refused(committed, ConfigurationProposed(2, ("n1",))) is ConfigurationRefusal.CHANGE_UNDER_WAY


def test_a_new_voter_must_have_most_of_the_log(elect: Build) -> None:
    leader = _ready(elect)
    leader = replace(leader, settings=replace(leader.settings, max_promotion_lag=0))
    assert _refused(leader, ConfigurationProposed(1, tuple(NAMES[:4]))) is ConfigurationRefusal.NOT_CAUGHT_UP


def test_the_leader_itself_lacks_nothing(elect: Build) -> None:
    """One that became a learner while it led can become a voter again."""
    leader = _ready(elect)
    strict = replace(leader.settings, max_promotion_lag=0)
    demoted = replace(leader, settings=strict, configurations=(Configured(1, configuration(["n2", "n3"], ["n1"])),))
    after = step(demoted, ConfigurationProposed(1, ("n1", "n2", "n3"))).server
    assert after.configuration == configuration(NAMES[:3])


# --- In force from the append to the truncation.


def test_a_follower_has_members_from_the_moment_their_entry_is_in_its_log() -> None:
    server = follower("n2", NAMES[:3], current_term=1)
    entry = configuration_entry(1, configuration(NAMES[:4]))
    after, effects = step(server, received("n1", AppendEntries(1, "n1", 0, 0, (entry,), 0)))
    assert after.configuration == configuration(NAMES[:4])
    assert ConfigurationChanged(1, configuration(NAMES[:4])) in effects


def test_members_whose_entry_is_truncated_never_were() -> None:
    server = follower("n2", NAMES[:3], current_term=1)
    entry = configuration_entry(1, configuration(NAMES[:4]))
    changed = step(server, received("n1", AppendEntries(1, "n1", 0, 0, (entry,), 0))).server
    after, effects = step(changed, received("n3", AppendEntries(2, "n3", 0, 0, (Entry(2, b"x"),), 0)))
    assert after.configurations == server.configurations
    assert ConfigurationChanged(0, configuration(NAMES[:3])) in effects


def test_a_truncation_and_the_same_members_again_change_nothing_to_talk_of() -> None:
    server = follower("n2", NAMES[:3], current_term=1)
    first, again = (configuration_entry(term, configuration(NAMES[:4])) for term in (1, 2))
    changed = step(server, received("n1", AppendEntries(1, "n1", 0, 0, (first,), 0))).server
    after, effects = step(changed, received("n3", AppendEntries(2, "n3", 0, 0, (again,), 0)))
    assert after.configurations == changed.configurations
    assert not any(isinstance(effect, ConfigurationChanged) for effect in effects)


def test_a_removed_leader_sends_on_and_does_not_count_itself(elect: Build) -> None:
    """Thesis 4.2.2: two of the two others are needed, and then it goes."""
    leader = step(_ready(elect), ConfigurationProposed(1, ("n2", "n3"))).server
    leader = step(leader, LogPersisted(2, 1)).server
    leader = step(leader, received("n2", AppendEntriesResult(1, True, 1, 2))).server
    assert (leader.commit_index, leader.role_name) == (1, "leader")
    after, effects = step(leader, received("n3", AppendEntriesResult(1, True, 1, 2)))
    assert (after.commit_index, after.role_name) == (2, "follower")
    assert ConfigurationCommitted(2, configuration(["n2", "n3"])) in effects
    told = [effect for effect in effects if isinstance(effect, Send) and isinstance(effect.message, AppendEntries)]
    assert [(send.to, send.message.leader_commit) for send in told] == [("n2", 2), ("n3", 2)]  # type: ignore[union-attr]


def test_a_server_outside_the_voters_does_not_campaign() -> None:
    server = follower("n9", NAMES[:3], current_term=1)
    server = replace(server, configurations=(Configured(0, configuration(NAMES[:3], ["n9"])),))
    after, effects = step(server, ElectionTimeout(0))
    assert after.role_name == "follower"
    assert Ignored("not a voter") in effects


# --- Those who were removed (thesis 4.2.3).


@pytest.mark.parametrize("check_quorum", [True, False])
def test_an_election_is_ignored_while_the_leader_is_heard(check_quorum: bool) -> None:
    server = follower("n1", NAMES[:3], current_term=1, settings=Settings(check_quorum=check_quorum))
    hearing = step(server, received("n2", AppendEntries(1, "n2", 0, 0, (), 0))).server
    after = step(hearing, received("n3", RequestVote(9, "n3", 9, 9))).server
    assert (after == hearing, after.current_term) == ((True, 1) if check_quorum else (False, 9))


def test_an_election_that_the_leader_asked_for_is_not_ignored() -> None:
    server = follower("n1", NAMES[:3], current_term=1)
    hearing = step(server, received("n2", AppendEntries(1, "n2", 0, 0, (), 0))).server
    request = RequestVote(2, "n3", 9, 9, leadership_transfer=True)
    after = step(hearing, received("n3", request)).server
    assert (after.current_term, after.voted_for) == (2, "n3")


def test_a_leader_keeps_sending_to_everybody_who_stays(elect: Build) -> None:
    """What it knew of them is kept; who is new is asked where its log ends."""
    leader = _ready(elect)
    after = step(leader, ConfigurationProposed(1, ("n1", "n2", "n4"))).server
    assert isinstance(after.role, Leader)
    known = {progress.server_id: progress.match_index for progress in after.role.followers}
    assert known == {"n2": 1, "n3": 0, "n4": 0}


def test_a_new_leader_does_not_end_the_joint_phase_before_its_own_entry_is_committed() -> None:
    """The phase was begun and committed in an earlier term; what a leader knows for sure begins with its own."""
    joint = Configuration(("n1", "n2", "n4"), (), ("n1", "n2", "n3"))
    server = restore("n1", ("n1", "n2", "n3"), Settings(pre_vote=False), randomness=0)
    begun = AppendEntries(1, "n2", 0, 0, (configuration_entry(1, joint),), 1)
    server = step(step(server, received("n2", begun)).server, LogPersisted(1, 1)).server
    assert server.commit_index == 1 and server.configuration == joint
    server = step(server, ElectionTimeout(0)).server
    server = step(server, received("n2", RequestVoteResult(2, vote_granted=True))).server
    assert isinstance(server.role, Leader)
    for event in (LogPersisted(2, 2), HeartbeatTimeout(), received("n4", AppendEntriesResult(2, True, 1, 1))):
        server = step(server, event).server
        assert server.configuration == joint and server.log.last_index == 2
    after, effects = step(server, received("n2", AppendEntriesResult(2, True, 1, 2)))
    assert after.commit_index == 2
    assert after.configuration == joint.after_joint() and after.log.last_index == 3
    assert ConfigurationChanged(3, joint.after_joint()) in effects
