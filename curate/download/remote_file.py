"""A file on a server, where it is to lie here, and how far it has come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RemoteFile:
    """One file to be fetched.

    Attributes:
        name: For people, as in `kits19/images/case_00000.nii.gz`.
        target: Where it is to lie, once it is whole and checked.
        part: Where it grows, on the same disk.
        homepage: Where people can get it by hand.
    """

    name: str
    url: str
    target: Path
    part: Path
    size_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    homepage: str = ""

    @property
    def by_hand(self) -> str:
        """What people can do without us."""
        where = f"from {self.homepage} " if self.homepage else ""
        return f"get it {where}by hand and put it at {self.target}"


@dataclass(frozen=True)
class Transfer:
    """How far a file has come.

    Attributes:
        checking: What an earlier run left is being read again; nothing comes over the network.
    """

    name: str
    done_bytes: int
    total_bytes: int | None
    checking: bool = False


OnProgress = Callable[[Transfer], None]


def ignore_progress(_transfer: Transfer) -> None:
    """Do nothing."""
