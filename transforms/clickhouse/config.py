"""Where ClickHouse is and how to get in. Needs neither driver nor engine, so that options can be checked without them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from transforms.clickhouse.passwords import FORMS, OPTION, is_reference, read_password

if TYPE_CHECKING:
    from transforms.clickhouse.client import ClickHouse

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, repr=False)
class ClickHouseConfig:
    """Where ClickHouse is and how to get in. Holds no secret: `password` is a reference that is resolved in `connect`."""

    url: str
    """`chdb:///path` for the embedded engine, `http(s)://host[:port]` for a server."""
    user: str = "default"
    database: str = "default"
    password: str = "env:CLICKHOUSE_PASSWORD"
    """A reference: `env:NAME` (unset means no password), `file:/path`, or `gcp-secret:projects/P/secrets/S[/versions/V]`."""
    retry_attempts: int = 3
    """How often an operation is tried that fails in a way that may pass."""
    retry_delay_s: float = 1.0
    """Seconds before the second try; doubles with each further one, up to 30."""
    timeout_s: float = 300.0
    """Seconds that an answer of the server may take; whole seconds count. The embedded engine has none."""
    max_server_memory_bytes: int | None = None
    """Bound on the embedded engine's own memory; None leaves it to the engine."""

    def __repr__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        # Neither should hold a secret, but a user may have put one there.
        shown |= {"url": self.place, "password": self.password if is_reference(self.password) else "***"}
        return f"ClickHouseConfig({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def embedded(self) -> bool:
        """Whether the engine runs in this process."""
        return self.url.startswith("chdb://")

    @property
    def path(self) -> str | None:
        """The embedded database's directory."""
        return os.path.abspath(self.url.removeprefix("chdb://")) if self.embedded else None

    @property
    def place(self) -> str:
        """The URL without what a user may have put into it as a secret."""
        return self.url if self.embedded else re.sub(r"^(\w+://)?.*@", r"\1", self.url).partition("?")[0]

    def problems(self) -> list[str]:
        """Every reason why this cannot work, each naming the option, its value and what would be right."""
        found = []
        if not self.embedded:
            found += self._url_problems()
        elif not self.url.removeprefix("chdb://"):
            found.append("--clickhouse_url: 'chdb://' lacks a path; give chdb:///path/to/directory")
        elif "\0" in self.url or "?" in os.path.realpath(self.path or ""):
            found.append(
                f"--clickhouse_url: {self.url!r} must be a plain path, without a question mark or NUL character, also where "
                "links lead: the embedded engine takes what follows a question mark for settings"
            )
        if not self.user:
            found.append("--clickhouse_user: '' must be a name, such as default")
        if not _IDENTIFIER.fullmatch(self.database):
            found.append(
                f"--clickhouse_database: {self.database!r} must be letters, digits and _, not beginning with a digit"
            )
        if not is_reference(self.password):
            found.append(f"{OPTION}: must be {FORMS}, a place where the password is, never the password itself")
        if self.retry_attempts < 1:
            found.append(f"--retry_attempts: {self.retry_attempts} must be at least 1")
        if self.retry_delay_s < 0:
            found.append(f"--retry_delay: {self.retry_delay_s} must be at least 0")
        if self.timeout_s <= 0:
            found.append(f"timeout_s: {self.timeout_s} must be more than 0")
        if self.max_server_memory_bytes is not None and self.max_server_memory_bytes <= 0:
            found.append(f"max_server_memory_bytes: {self.max_server_memory_bytes} must be more than 0")
        return found

    def _url_problems(self) -> list[str]:
        # Whatever stands before an @ or behind a question mark may be a secret, so that nothing of such a URL is repeated.
        if "@" in self.url or "?" in self.url:
            return [
                "--clickhouse_url: must not hold a user or a password, nor anything behind a question mark; give "
                "http(s)://host:port and --clickhouse_user, and the password in CLICKHOUSE_PASSWORD"
            ]
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.fragment
        except ValueError:
            good = False
        return [] if good else [f"--clickhouse_url: {self.url!r} is not chdb:///path or http(s)://host:port"]

    def connect(self, *, create: bool = False) -> ClickHouse:
        """A client, checked to be working. Makes an embedded database only if `create` says so.

        Blocks; raises ClickHouseError: SchemaError for a database that does not exist, EmbeddedBusy for one in use.
        """
        from transforms.clickhouse.client import ClickHouse  # the driver takes its time

        return ClickHouse(self, create=create)

    def resolve_password(self) -> str:
        """The password itself. Blocks; raises AccessDenied, Unavailable or ClickHouseError: see `read_password`."""
        return read_password(self.password)
