"""Where to listen, and with which token: what is decided before anything is opened.  Needs no web framework."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Final

from actors.errors import ActorumError, ExitCode, WrongArguments

TOKEN_VARIABLE: Final = "ACTORUM_HTTP_TOKEN"
SHORTEST_TOKEN: Final = 16
"""Characters; less could be guessed."""


class ListeningUnprotected(ActorumError):
    """The address can be reached from other machines, and no token is set.  Nothing was opened; a retry fails alike."""

    code = "LISTENING-UNPROTECTED"
    exit_code = ExitCode.USAGE


def read_token(file: Path | None) -> str | None:
    """The token in `file`, or else in the environment; None if there is neither.  Raises `WrongArguments`."""
    try:
        token = file.read_text("utf-8").strip() if file is not None else os.environ.get(TOKEN_VARIABLE)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongArguments(f"the token file {file} cannot be read: {error}") from None
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise WrongArguments(
            f"the token must be {SHORTEST_TOKEN} printable ASCII characters or more",
            why="whoever knows or guesses it may change the replicated state",
            fix="umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > token",
        )
    return token


def check_binding(host: str, port: int, token: str | None) -> tuple[str, int]:
    """The numeric address behind `host`.  Raises `ListeningUnprotected` if others reach it and there is no token."""
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise WrongArguments(f"{host!r} is no address to listen on: {error}", fix="127.0.0.1:8080") from None
    if token is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise ListeningUnprotected(
            f"{host} can be reached from other machines, and no token is set",
            why="anybody who can reach it could change the replicated state",
            fix=f"--token-file FILE (or {TOKEN_VARIABLE}), or listen on 127.0.0.1",
        )
    return address, port
