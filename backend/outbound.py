"""Outbound connections to addresses that others chose: only to the public internet, never late.

A task's image URL is written by whoever may import tasks, but it is this machine that asks for
it. Hosts with addresses of the local network are therefore refused unless they are named in the
settings, and the connection goes to the very address that was checked: a name that resolves to
another one a moment later (DNS rebinding) changes nothing. Proxies from the environment are not
used, since they would resolve the name again.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Timer
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Older Pythons call the first two public. Clouds answer in them with what only the machine itself
# may know: Oracle at 192.0.0.192, Azure at the last.
_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv6Network("fec0::/10"),
    ipaddress.IPv4Network("168.63.129.16/32"),
)


@dataclass(frozen=True)
class Origin:
    """The server of a URL: two URLs of one origin may share credentials."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of a URL.

        Raises:
            ValueError: The URL is not an absolute http or https URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError("only http:// and https:// addresses with a host name can be fetched")
        parts.hostname.encode("idna")
        return cls(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Deadline:
    """A moment by which everything must be done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._end

    def remaining(self) -> float:
        """Seconds that are left, more than 0.

        Raises:
            TimeoutError: There are none.
        """
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the time is up")
        return remaining


class PrivateAddressError(OSError):
    """The host has an address that is not public."""


def resolve(origin: Origin, *, private_allowed: bool) -> list[str]:
    """The IP addresses of a host. How long this may take is up to the system's resolver.

    Raises:
        PrivateAddressError: One of them is not public, and that is not allowed.
        OSError: The host has none.
    """
    found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not private_allowed and not is_public(address):
            raise PrivateAddressError(f"it has the private address {address}")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@contextmanager
def open_connection(
    origin: Origin, addresses: list[str], deadline: Deadline, tls: ssl.SSLContext
) -> Iterator[http.client.HTTPConnection]:
    """An HTTP connection to the first of the host's addresses that accepts one.

    At the deadline it is shut down, however slowly the server drips: what is being read then
    ends early or raises, and `deadline.is_over` tells why.

    Raises:
        OSError: No address accepts, or the certificate is not the host's.
        TimeoutError: Not in time.
    """
    with ExitStack() as stack:
        plain = stack.enter_context(_connect(addresses, origin.port, deadline))
        plain.settimeout(deadline.remaining())
        if origin.scheme == "http":
            connection = http.client.HTTPConnection(origin.host, origin.port)
            connection.sock = plain
            stack.enter_context(_shut_down_at(deadline, plain))
        else:
            secure = tls.wrap_socket(
                plain, server_hostname=origin.host, do_handshake_on_connect=False
            )
            stack.enter_context(secure)
            stack.enter_context(_shut_down_at(deadline, secure))
            secure.do_handshake()
            connection = http.client.HTTPSConnection(origin.host, origin.port, context=tls)
            connection.sock = secure
        yield connection


def _connect(addresses: list[str], port: int, deadline: Deadline) -> socket.socket:
    """A connected socket; an address that does not answer leaves time for the others."""
    failure = OSError("no address")
    for index, address in enumerate(addresses):
        share = deadline.remaining() / (len(addresses) - index)
        try:
            return socket.create_connection((address, port), timeout=share)
        except OSError as error:
            failure = error
    raise failure


@contextmanager
def _shut_down_at(deadline: Deadline, connected: socket.socket) -> Iterator[None]:
    """Shuts the socket down if the block has not ended by the deadline."""

    def shut_down() -> None:
        with suppress(OSError):
            # Not SSLSocket's own method, which pulls the TLS state from under the reading thread.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = Timer(deadline.remaining(), shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
