"""What a peer answers by itself, without consensus: its log, other settings, how much it logs, who watches it.

Settings are changed peer by peer: each takes the changes to what it has, by the rules of the core (`raft_core.tuning`),
or refuses them and says why.  The election timeout that was drawn keeps its place between T and 2T, so that nothing
random is needed here.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import ValidationError, convert
from msgspec.structs import asdict

from actors.applier import ClientId, Replies, UseSettings, Work
from actors.errors import ActorumError
from actors.logs import set_log_level
from actors.observer import Observer
from actors.protocol import (
    Administered,
    ChangeSettings,
    DescribePeer,
    Inspecting,
    LogPage,
    ReadLog,
    SetLogLevel,
    WatchPeer,
)
from actors.reports import page
from raft_core import Event, Server, Settings, SettingsChanged
from raft_core.tuning import change_problem


class Inspection:
    """Answers for one peer.  The peer's turns call it, one at a time."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self.observer = Observer(replies)
        """Tells those who watch."""

    def asked(self, client_id: ClientId, message: Inspecting, server: Server) -> tuple[list[Event], list[Work]]:
        """Answer; what the core and the applier must know of it."""
        match message:
            case ReadLog(batch_id=batch_id, first=first, last=last):
                self._replies.reply(client_id, log_page(batch_id, first, last, server))
            case WatchPeer():
                self.observer.watch(client_id, message, server)
            case ChangeSettings():
                return self._change(client_id, message, server)
            case SetLogLevel():
                self._replies.reply(client_id, _log_at(message))
            case DescribePeer():
                raise AssertionError("runtimes answer this themselves")
            case _:
                assert_never(message)
        return [], []

    def _change(self, client_id: ClientId, message: ChangeSettings, server: Server) -> tuple[list[Event], list[Work]]:
        before = server.settings
        try:
            wished = changed(before, message.changes)
        except ValidationError as error:
            self._replies.reply(client_id, Administered(message.batch_id, "refused", reason=str(error)))
            return [], []
        if problem := change_problem(before, wished):
            self._replies.reply(client_id, Administered(message.batch_id, "refused", reason=problem))
            return [], []
        self._replies.reply(client_id, Administered(message.batch_id, "done"))
        return [SettingsChanged(wished, _same_place(server, wished))], [UseSettings(wished)]


def changed(settings: Settings, changes: dict[str, int | bool]) -> Settings:
    """`settings` with `changes`.  Raises `ValidationError` if there is no such setting, or a value is none of it."""
    known = asdict(settings)
    if unknown := [name for name in changes if name not in known]:
        raise ValidationError(f"there is no setting {', '.join(unknown)}")
    return convert({**known, **changes}, Settings)


def log_page(batch_id: int, first: int, last: int, server: Server) -> LogPage:
    """Entries of a server's log."""
    log = server.log
    return LogPage(
        batch_id, page(server, first, last), log.last_included_index + 1, log.last_index, server.commit_index
    )


def _same_place(server: Server, wished: Settings) -> int:
    before = server.settings.election_timeout
    return (server.election_timeout - before) * wished.election_timeout // before


def _log_at(message: SetLogLevel) -> Administered:
    try:
        set_log_level(message.level)
    except ActorumError as error:
        return Administered(message.batch_id, "refused", reason=error.what)
    return Administered(message.batch_id, "done")
