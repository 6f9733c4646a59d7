"""An administrator of a simulated cluster who cannot leave well alone: other members, another leader, all the time.

It knows what an administrator knows - who was a member when it last looked at some server - and asks whom it thinks to
lead, or anybody.  It adds learners and promotes them, removes voters and leaders, exchanges several at once, wishes
what is there already, insists on a configuration that may have been replaced, hands leadership to servers that are
down, changes its mind about who shall lead rather than others, and gives servers other settings, one at a time.  New
servers start empty, under names that nobody had before.  Those who are removed run on, and must not disturb the others;
where nothing protects a cluster from them (neither pre-votes nor check-quorum), they are stopped in the end (thesis
4.2.3).  In the end it gives all servers the settings that they began with, and says once more who shall lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from raft_core.configuration import Configuration
from raft_core.effects import ConfigurationAccepted, ConfigurationRefused, TransferEnded, TransferRefused
from raft_core.events import ConfigurationProposed, SettingsChanged, TransferRequested
from raft_core.roles import Leader
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.adversary import other_settings
from raft_core.verify.simulated_server import SimulatedServer

if TYPE_CHECKING:
    from raft_core.verify.simulation import Simulation

Answer: TypeAlias = ConfigurationAccepted | ConfigurationRefused | TransferEnded | TransferRefused
Wish: TypeAlias = tuple[set[ServerId], set[ServerId]]
"""Voters and learners."""
Priorities: TypeAlias = tuple[tuple[ServerId, int], ...]

PREFERS_EVERY = 800
"""Milliseconds, on average, after which somebody else shall lead, where any shall."""
MOST_VOTERS = 5
MOST_SERVERS = 9
"""That ever start."""


class Administrator:
    """Wishes that come at random times, as the adversary says."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._is_over = False
        self.is_done = False
        """Nothing disturbs the members any more."""
        self._members: tuple[ServerId, ...] = simulation.founders

    def begin(self) -> None:
        """From now on wishes come."""
        self._wait_for_change()
        self._wait_for_transfer()
        self._wait_for_settings()
        self._wait_for_preference()

    def end(self) -> None:
        """The last wishes.  Those who left would disturb for ever where nobody is protected from them."""
        self._is_over = True
        settings = self._simulation.adversary.settings
        if self._simulation.adversary.prefers:
            self._says_who_shall_lead()
        for server in self._simulation.servers.values():
            is_other = server.server is not None and server.server.settings != settings
            if is_other or server.expects_settings:
                server.wish(SettingsChanged(settings, self._random.getrandbits(16)))
        self.is_done = settings.pre_vote or settings.check_quorum
        if not self.is_done:
            self._simulation.after(15 * settings.election_timeout * 1_000, self._stop_strangers)

    def answered(self, answer: Answer) -> None:
        """A wish was followed, or not."""
        what = type(answer).__name__
        reason = f": {answer.reason.value}" if isinstance(answer, ConfigurationRefused | TransferRefused) else ""
        self._simulation.misfortunes.counts[what + reason] += 1

    # --- who is a member ----------------------------------------------------------------------------------------------

    def members(self) -> tuple[ServerId, ...]:
        """As the latest leader knows them."""
        leader = self._leader()
        if leader is not None:
            self._members = leader.configuration.servers
        return self._members

    def _leader(self) -> Server | None:
        running = [server.server for server in self._simulation.servers.values() if server.server]
        leaders = [server for server in running if isinstance(server.role, Leader)]
        return max(leaders, key=lambda server: server.current_term, default=None)

    def _stop_strangers(self) -> None:
        timeout = self._simulation.adversary.settings.election_timeout * 1_000
        leader = self._leader()
        if leader is None or leader.configurations[-1].index > leader.commit_index:
            self._simulation.after(timeout, self._stop_strangers)
            return
        for server in self._simulation.servers.values():
            if server.name not in leader.configuration.servers:
                server.stop()
        self._simulation.after(2 * timeout, self._is_quiet)

    def _is_quiet(self) -> None:
        self.is_done = True

    # --- wishes -------------------------------------------------------------------------------------------------------

    def _wait_for_change(self) -> None:
        mean = self._simulation.adversary.change_every
        if mean:
            self._simulation.after(1 + int(self._random.expovariate(1 / mean) * 1_000), self._change)

    def _wait_for_transfer(self) -> None:
        mean = self._simulation.adversary.transfer_every
        if mean:
            self._simulation.after(1 + int(self._random.expovariate(1 / mean) * 1_000), self._transfer)

    def _wait_for_preference(self) -> None:
        if self._simulation.adversary.prefers:
            self._simulation.after(1 + int(self._random.expovariate(1 / PREFERS_EVERY) * 1_000), self._prefer)

    def _prefer(self) -> None:
        if not self._is_over:
            self._says_who_shall_lead()
            self._wait_for_preference()

    def _says_who_shall_lead(self) -> None:
        """Nothing else is to change."""
        leader = self._leader()
        if leader is not None:
            now, number = leader.configuration, self._simulation.next_number()
            wish = ConfigurationProposed(number, now.voters, now.learners, None, self._drawn_priorities(now.servers))
            self._simulation.servers[leader.server_id].wish(wish)

    def _wait_for_settings(self) -> None:
        mean = self._simulation.adversary.settings_every
        if mean:
            self._simulation.after(1 + int(self._random.expovariate(1 / mean) * 1_000), self._set)

    def _set(self) -> None:
        """Any server, of which nobody has asked this just now."""
        if self._is_over:
            return
        server = self._random.choice(list(self._simulation.servers.values()))
        if server.server is not None and not server.expects_settings:
            self._simulation.misfortunes.counts["settings"] += 1
            settings = other_settings(self._random, server.server.settings)
            server.wish(SettingsChanged(settings, self._random.getrandbits(16)))
        self._wait_for_settings()

    def _whom_to_ask(self) -> SimulatedServer | None:
        servers = [server for server in self._simulation.servers.values() if server.server is not None]
        leaders = [server for server in servers if server.server and isinstance(server.server.role, Leader)]
        if leaders and self._random.random() < 0.9:
            return self._random.choice(leaders)
        return self._random.choice(servers) if servers else None

    def _transfer(self) -> None:
        if self._is_over:
            return
        server = self._whom_to_ask()
        if server is not None:
            target = self._random.choice((None, *self._simulation.names))
            server.wish(TransferRequested(self._simulation.next_number(), target))
        self._wait_for_transfer()

    def _change(self) -> None:
        if self._is_over:
            return
        server = self._whom_to_ask()
        if server is not None and server.server is not None:
            voters, learners = self._wish(server.server.configuration)
            last = server.server.configurations[-1].index
            expected = self._random.choice((None, None, last, last, max(0, last - 1)))
            number = self._simulation.next_number()
            ranks = self._priorities(voters | learners)
            server.wish(ConfigurationProposed(number, tuple(sorted(voters)), tuple(sorted(learners)), expected, ranks))
        self._wait_for_change()

    def _wish(self, now: Configuration) -> Wish:
        voters, learners = set(now.voters), set(now.learners)
        kind = self._random.choice(WISHES)
        return kind(self, voters, learners)

    def _priorities(self, members: set[ServerId]) -> Priorities | None:
        if not self._simulation.adversary.prefers or self._random.random() < 0.5:
            return None
        return self._drawn_priorities(sorted(members))

    def _drawn_priorities(self, members: Sequence[ServerId]) -> Priorities:
        return tuple((name, self._random.choice((0, 1, 1, 2, 5))) for name in members)

    def pick(self, among: set[ServerId]) -> ServerId | None:
        """One of them; None if there is none."""
        return self._random.choice(sorted(among)) if among else None

    def outsider(self, members: set[ServerId]) -> ServerId | None:
        """A server that is no member: a new one, or one that was removed."""
        names = self._simulation.names
        outside = sorted(set(names) - members)
        if len(names) < MOST_SERVERS and (not outside or self._random.random() < 0.4):
            name = f"n{len(names) + 1}"
            self._simulation.joins(name)
            return name
        return self._random.choice(outside) if outside else None

    def some(self) -> Wish:
        """Any members at all."""
        names = list(self._simulation.names)
        self._random.shuffle(names)
        voters = self._random.randint(0, MOST_VOTERS)
        return set(names[:voters]), set(names[voters : voters + self._random.randint(0, 2)])


def _add_learner(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    name = administrator.outsider(voters | learners)
    return voters, learners | ({name} if name else set())


def _add_voter(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    name = administrator.outsider(voters | learners) if len(voters) < MOST_VOTERS else None
    return voters | ({name} if name else set()), learners


def _promote(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    name = administrator.pick(learners)
    if name is None or len(voters) >= MOST_VOTERS:
        return _add_learner(administrator, voters, learners)
    return voters | {name}, learners - {name}


def _remove(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    name = administrator.pick(voters | learners)
    return voters - {name or ""}, learners - {name or ""}


def _demote(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    name = administrator.pick(voters)
    return (voters - {name}, learners | {name}) if name else (voters, learners)


def _any(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    return administrator.some()


def _same(administrator: Administrator, voters: set[ServerId], learners: set[ServerId]) -> Wish:
    return voters, learners


WISHES = (_add_learner, _add_voter, _promote, _promote, _remove, _remove, _demote, _any, _same)
"""Chosen among by chance."""
