"""Who may send events: Token to enterprise, and from which networks."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

import msgspec


class Admission(msgspec.Struct, frozen=True):
    """An enterprise as its hosts are known; no networks: any."""

    enterprise: str
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def admits(self, sender: str) -> bool:
        """True for a sender's address inside the allowed networks."""
        if not self.networks:
            return True
        try:
            address = ip_address(sender)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)


class Gate:
    """The Tokens of all enterprises; replaced as a whole when the directory or a secret changes."""

    def __init__(self) -> None:
        self._admissions: Mapping[str, Admission] = {}
        self.loaded = False
        """False until the Tokens were read for the first time: nobody can be refused before."""

    @property
    def size(self) -> int:
        """How many Tokens are known."""
        return len(self._admissions)

    def admit(self, token: str) -> Admission | None:
        """The enterprise of a Token, None for a Token of nobody."""
        return self._admissions.get(token)

    def enterprise(self, token: str) -> str | None:
        """Number of the enterprise of a Token."""
        admission = self._admissions.get(token)
        return admission.enterprise if admission else None

    def replace(self, tokens: Mapping[str, str], networks: Mapping[str, tuple[str, ...]]) -> None:
        """``tokens``: Token to number; ``networks``: number to CIDRs."""
        self._admissions = {
            token: Admission(
                number, tuple(ip_network(text, strict=False) for text in networks.get(number, ()))
            )
            for token, number in tokens.items()
        }
        self.loaded = True


class Rejects(Protocol):
    """Where refused bodies are kept."""

    def keep(
        self, path: str, status: int, reason: str, enterprise: str | None, sender: str, body: bytes
    ) -> None:
        """Keep one; never waits."""
        ...
