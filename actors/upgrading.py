"""An upgrade of the machine: which version may begin, and the entry that begins it (see `versions`).

Every voter of the present configuration must answer, and whoever answers must know the version: a voter that does not
has to stop at the entry, and a majority of them would stop the cluster for good.  A learner that is down is not waited
for; it can only stop itself.  A peer that becomes a member between the question and the entry, with an old program,
stops there and says so; its log stays, and it goes on when it is started with the new program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import msgpack

from actors.calls import Call, SubmitOptions
from actors.cluster_ports import ClusterClient
from actors.errors import NoQuorum, WrongVersion
from actors.protocol import Digest
from actors.replies import decode_reply
from actors.versions import UPGRADE, encode_upgrade
from raft_core import ServerId


def version_to_begin(wanted: int | None, voters: Iterable[ServerId], answers: Mapping[ServerId, Digest | None]) -> int:
    """The version that is wanted; None: the newest that anybody knows.

    Raises `NoQuorum` if a voter did not answer, and `WrongVersion`, with names, if somebody does not know the version.
    """
    if silent := [name for name in voters if answers.get(name) is None]:
        raise NoQuorum(
            f"{', '.join(silent)} did not say which versions of the machine they know",
            why="a peer that meets a version which it does not know has to stop",
            fix="start them with the new program, and try again",
        )
    known = {name: digest.versions for name, digest in answers.items() if digest is not None}
    version = max(number for versions in known.values() for number in versions) if wanted is None else wanted
    if lacking := {name: versions for name, versions in known.items() if version not in versions}:
        who = "; ".join(f"{name} knows {', '.join(map(str, versions))}" for name, versions in lacking.items())
        raise WrongVersion(
            f"version {version} of the machine was not begun: {', '.join(lacking)} would have to stop",
            why=who,
            fix=f"start them with the new program (actorum restart {next(iter(lacking))}), or name another version",
        )
    return version


def begin_version(client: ClusterClient, version: int, timeout: float) -> int:
    """Commit the entry that begins it; the version that is in force then."""
    call: Call[int] = client.submit_command(
        UPGRADE,
        encode_upgrade(version),
        lambda reply: decode_reply(reply, "upgrade", lambda result: msgpack.decode(result, type=int)),
        SubmitOptions(timeout=timeout),
    )
    return call.result()
