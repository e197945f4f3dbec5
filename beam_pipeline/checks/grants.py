"""What a user may do, by what `SHOW GRANTS` says: for rights that cannot be tried without making something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_GRANT = re.compile(r"^(GRANT|REVOKE) (.+?) ON (\S+) (?:TO|FROM) ", re.IGNORECASE)
_COLUMNS = re.compile(r"\([^)]*\)")
_PARENTS = {
    "CREATE DATABASE": ("CREATE",),
    "CREATE TABLE": ("CREATE",),
    "CREATE VIEW": ("CREATE",),
    "ALTER TABLE": ("ALTER",),
    "DROP VIEW": ("DROP",),
}
"""Rights that hold these."""


def missing_rights(grants: Iterable[str], wanted: Sequence[str], database: str) -> list[str]:
    """Which of these rights on all of a database the lines of `SHOW GRANTS` do not give.

    A right on single tables or columns does not count; one that is revoked on all of the database is missing.
    """
    granted: set[str] = set()
    for line in grants:
        match = _GRANT.match(line)
        if not match or match[3].replace("`", "") not in ("*.*", "*", f"{database}.*"):
            continue
        rights = {right.strip().upper() for right in match[2].split(",") if not _COLUMNS.search(right)}
        granted = granted | rights if match[1].upper() == "GRANT" else granted - rights
    return [right for right in wanted if not granted & {right, *_PARENTS.get(right, ()), "ALL", "ALL PRIVILEGES"}]
