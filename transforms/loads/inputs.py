"""What an input is called in the journal and in the log, wherever its directory is mounted or moved to."""

from __future__ import annotations

import pyarrow as pa

from transforms.clickhouse import ClickHouse

INPUTS_TABLE = "mastra_admin_ingest_inputs"

_SCHEMA = pa.schema([("name", pa.string()), ("root", pa.string()), ("identity", pa.string())])


def find_input(client: ClickHouse, root: str, identity: str, name: str = "") -> tuple[str, bool]:
    """The name of the input at `root`, and whether it was seen there before. Raises ClickHouseError.

    A directory that was loaded from before keeps its name when it is somewhere else now: it is told by `identity`, that
    of the storage. A new one is called by its root. `name` gives it another one.
    """
    rows = client.query(
        f"SELECT name, root, identity FROM {INPUTS_TABLE} FINAL "
        "WHERE root = {root:String} OR (identity = {identity:String} AND identity != '') ORDER BY seen_at DESC",
        {"root": root, "identity": identity},
    )
    known = [row for row in rows if name in ("", row["name"])]
    exact = [row for row in known if (row["root"], row["identity"]) == (root, identity)]
    found = exact or [row for row in known if row["identity"] == identity] or known
    return name or (str(found[0]["name"]) if found else root), bool(exact)


def resolve_input(client: ClickHouse, root: str, identity: str, name: str = "") -> str:
    """As `find_input`; writes the name down when the input is seen there for the first time."""
    found, is_known = find_input(client, root, identity, name)
    if not is_known:
        row = {"name": found, "root": root, "identity": identity}
        client.insert(INPUTS_TABLE, pa.RecordBatch.from_pylist([row], _SCHEMA), idempotent=True)
    return found
