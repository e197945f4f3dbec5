"""What an input is called in the journal and in the log, wherever its directory is mounted or moved to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from transforms.clickhouse.batches import batch_of

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

INPUTS_TABLE = "mastra_admin_ingest_inputs"

_COLUMNS = {
    "name": "string",
    "root": "string",
    "identity": "string",
    "host": "string",
}


def find_input(client: ClickHouse, root: str, identity: str, name: str = "", *, host: str = "") -> tuple[str, bool]:
    """The name of the input at `root`, and whether it was seen there before. Raises ClickHouseError.

    A directory that was loaded from before keeps its name when it is somewhere else now: it is told by `identity`, that
    of the storage. One that was made anew at the same place on the same host is the same input; one at the same place on
    another host is not, unless it has the same identity. A new one is called by its root. `name` gives it another one.
    """
    host = host or socket.gethostname()
    rows = client.query(
        f"SELECT name, root, identity, host FROM {INPUTS_TABLE} FINAL "
        "WHERE root = {root:String} OR (identity = {identity:String} AND identity != '') ORDER BY seen_at DESC",
        {"root": root, "identity": identity},
    )
    known = [row for row in rows if name in ("", row["name"])]
    exact = [row for row in known if (row["root"], row["identity"], row["host"]) == (root, identity, host)]
    same = [row for row in known if row["identity"] == identity and identity]
    here = [row for row in known if row["host"] == host or not identity or not row["identity"]]
    found = exact or same or here
    if name or found:
        return name or str(found[0]["name"]), bool(exact)
    return (f"{host}:{root}" if known else root), False


def resolve_input(client: ClickHouse, root: str, identity: str, name: str = "", *, host: str = "") -> str:
    """As `find_input`; writes the name down when the input is seen there for the first time."""
    host = host or socket.gethostname()
    found, is_known = find_input(client, root, identity, name, host=host)
    if not is_known:
        row = {"name": found, "root": root, "identity": identity, "host": host}
        client.insert(INPUTS_TABLE, batch_of([row], _COLUMNS), idempotent=True)
    return found
