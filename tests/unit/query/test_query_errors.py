from __future__ import annotations

from datetime import timedelta

import pytest

from beam_pipeline.query import (
    BadArgument,
    DatabaseBusy,
    QueryDenied,
    QueryError,
    QueryTimeout,
    QueryTooLarge,
    SchemaNotMigrated,
    ServerUnavailable,
)
from beam_pipeline.query.errors import translated
from transforms.clickhouse import AccessDenied, ClickHouseError, DataError, EmbeddedBusy, SchemaError, Unavailable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EmbeddedBusy("in use by process 7"), DatabaseBusy),
        (AccessDenied("wrong password", 516), QueryDenied),
        (Unavailable("cannot be reached"), ServerUnavailable),
        (Unavailable("too slow", 159), QueryTimeout),
        (Unavailable("too much", 241), QueryTooLarge),
        (SchemaError("no table", 60), SchemaNotMigrated),
        (DataError("syntax", 62), QueryError),
    ],
)
def test_errors_have_a_type_for_what_can_be_done(error: ClickHouseError, kind: type[QueryError]) -> None:
    with pytest.raises(QueryError, match=str(error)) as caught, translated():
        raise error
    assert type(caught.value) is kind and caught.value.__cause__ is error


def test_a_busy_database_may_be_asked_again_later_as_a_server_that_is_away() -> None:
    assert issubclass(DatabaseBusy, ServerUnavailable)


def test_a_duration_is_told_as_one_gives_it() -> None:
    assert str(BadArgument("interval", timedelta(hours=1), "longer")) == "interval: 3600s must be longer"
