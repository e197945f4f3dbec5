"""What `SHOW GRANTS` says about rights on a whole database."""

from __future__ import annotations

import pytest

from beam_pipeline.checks.grants import missing_rights

WANTED = ("CREATE TABLE", "CREATE VIEW", "SELECT", "INSERT")


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        (["GRANT ALL ON *.* TO loader WITH GRANT OPTION"], []),
        (["GRANT SHOW, SELECT, INSERT, CREATE ON events.* TO loader"], []),
        (["GRANT SELECT, INSERT, CREATE TABLE, CREATE VIEW ON `events`.* TO loader"], []),
        (["GRANT SELECT ON *.* TO loader", "GRANT INSERT ON events.* TO loader"], ["CREATE TABLE", "CREATE VIEW"]),
        (["GRANT SELECT, INSERT, CREATE ON other.* TO loader"], list(WANTED)),
        (["GRANT SELECT, INSERT ON events.some_table TO loader"], list(WANTED)),
        (["GRANT SELECT(id, name), INSERT, CREATE ON events.* TO loader"], ["SELECT"]),
        (["GRANT SELECT, INSERT, CREATE ON *.* TO loader", "REVOKE INSERT ON events.* FROM loader"], ["INSERT"]),
        (["GRANT writers TO loader"], list(WANTED)),
        ([], list(WANTED)),
    ],
)
def test_rights_on_a_database(grants: list[str], missing: list[str]) -> None:
    assert missing_rights(grants, WANTED, "events") == missing
