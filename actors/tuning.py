"""`Tuner`: other settings, and other levels of logging, for a cluster that runs.

Settings are not agreed on, they are told to each peer (see `raft_core.tuning`).  They hold for as long as the program
runs that started the peers: a peer that dies is started again with them, and nothing of them is written to disk - the
next start of the cluster begins with what it is given.

Peers are told one after the other, in the order in which nobody is taken for dead meanwhile: if elections are to come
later, the leader, who may speak less often then, is told last; if they are to come sooner, it is told first.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import ValidationError

from actors.administrator import LOOK, Administrator
from actors.errors import CallTimeout, TimersTooShort, WrongArguments
from actors.inspection import changed
from actors.logs import checked_level, set_log_level
from actors.membership import leader_among
from actors.protocol import Administered, Administering, ChangeSettings, SetLogLevel
from actors.supervisor import PeerState
from raft_core import ServerId, Settings
from raft_core.tuning import bounds_problem, change_problem, timers_problem


class Tuner(Administrator):
    """A running cluster, for who wants it to run in another way."""

    def change_settings(self, *, timeout: float = LOOK, **changes: int | bool) -> Settings:
        """Give all peers these settings (`raft_core.Settings`, by name); what is in force then.

        Raises `TimersTooShort` or `WrongArguments` before anything is changed, and `CallTimeout` if a peer did not
        answer within `timeout` seconds: it has them when it is started again, or when this is called again.
        """
        before = self._supervisor.settings
        wished = _wished(before, changes)
        self._supervisor.use_settings(wished)
        order = self._order(leader_first=wished.election_timeout < before.election_timeout)
        self._tell(order, lambda number: ChangeSettings(number, changes), timeout)
        return wished

    def set_log_level(self, level: str, *, timeout: float = LOOK) -> None:
        """Let this program and all peers log at this level: "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL"."""
        name = checked_level(level)
        set_log_level(name)
        self._supervisor.use_log_level(name)
        self._tell(self._order(leader_first=False), lambda number: SetLogLevel(number, name), timeout)

    def _order(self, *, leader_first: bool) -> list[ServerId]:
        up = [name for name, (state, _, _) in self._supervisor.members().items() if state is PeerState.UP]
        leader = leader_among(self.status(LOOK))
        return sorted(up, key=lambda name: (leader is not None and name == leader.server_id) is not leader_first)

    def _tell(self, order: list[ServerId], request: Callable[[int], Administering], timeout: float) -> None:
        silent: list[ServerId] = []
        for name in order:
            answer = self._client.administer(name, request, timeout=timeout)
            if answer is None:
                silent.append(name)
            elif answer.outcome != "done":
                raise _refused(name, answer)
        if silent:
            raise CallTimeout(
                f"{', '.join(silent)} did not answer in time", why="down, or busy; the others know", fix="safe to retry"
            )


def check_settings(settings: Settings) -> None:
    """Refuse settings with which nothing would go on.  Raises `TimersTooShort` or `WrongArguments`."""
    if problem := timers_problem(settings):
        raise TimersTooShort(
            problem,
            why="one late heartbeat would start an election; the paper asks for an order of magnitude (5.6)",
            fix="Settings(election_timeout=300, heartbeat_interval=50)",
        )
    if problem := bounds_problem(settings):
        raise WrongArguments(problem, why="nothing would get through", fix="leave it out, for the default")


def _wished(before: Settings, changes: dict[str, int | bool]) -> Settings:
    try:
        wished = changed(before, changes)
    except ValidationError as error:
        known = ", ".join(Settings.__struct_fields__)
        raise WrongArguments(str(error), why=f"the settings are {known}", fix="election_timeout=500") from None
    check_settings(wished)
    if problem := change_problem(before, wished):
        raise WrongArguments(problem, why="a lease is a promise about time", fix="stop the cluster and start it anew")
    return wished


def _refused(server_id: ServerId, answer: Administered) -> WrongArguments:
    return WrongArguments(f"{server_id} refused: {answer.reason}", fix="look at `actorum settings show`")
