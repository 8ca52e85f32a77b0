"""Which network interface leads to an address.

Gloo takes the interface of the host's own name, which on many hosts is one that no other host reaches; the interface by
which a rank reaches rank 0 is one by which ranks reach each other.
"""

import contextlib
import ipaddress
import socket
import struct
from pathlib import Path
from typing import Final

_ADDRESS_OF: Final = 0x8915
"""SIOCGIFADDR of Linux, which asks for an interface's address [netdevice(7)]."""
_NAME, _ADDRESS = 16, slice(20, 24)
"""Bytes of a name in struct ifreq, and where the address stands in the answer."""
INTERFACES_6: Final = Path("/proc/net/if_inet6")


def interface_to(address: str) -> str:
    """The interface by which this host reaches an address, by name; nothing where nobody can tell."""
    own = _own_address(address)
    if not own:
        return ""
    return _with_address_6(own) if ":" in own else _with_address_4(own)


def _own_address(address: str) -> str:
    """The sender's address on the way there. A connected datagram socket has it, and sends nothing [connect(2)]."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, place in socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(place)
                return str(probe.getsockname()[0])
    return ""


def _with_address_4(own: str) -> str:
    try:
        import fcntl
    except ImportError:  # a system that asks otherwise
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no address
                asked = struct.pack("256s", name.encode()[: _NAME - 1])
                if socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _ADDRESS_OF, asked)[_ADDRESS]) == own:
                    return name
    return ""


def _with_address_6(own: str) -> str:
    """As the kernel lists them: address, index, prefix, scope, flags, name."""
    wanted = ipaddress.ip_address(own.partition("%")[0]).packed.hex()
    with contextlib.suppress(OSError):
        for line in INTERFACES_6.read_text(encoding="utf-8").splitlines():
            fields = line.split()
            if fields[0] == wanted:
                return fields[-1]
    return ""
