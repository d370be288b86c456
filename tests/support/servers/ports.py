"""Ports for servers that must be told one."""

import random
import socket

_BELOW_CLIENTS = range(15_000, 32_000)
"""The system gives ports from 32768 on to clients: between our look and a server's start one of
them could take a port of that range."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().choice(_BELOW_CLIENTS)))
            except OSError:
                continue
            return int(probe.getsockname()[1])
