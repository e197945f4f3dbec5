"""ClickHouse for tests: the engine in this process and a server over HTTP, a fresh database for each test.

One process can have one embedded database, so that every test in it shares one; tests that need another one run a
process of their own or a `ClickHouseEndpoint`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tenacity.nap
from hypothesis import settings

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.databases import FOR_EVER, empty_tables, fresh_database, make_database_to_copy, make_tables
from tests.support.object_stores import gcs_server, s3_server
from transforms.clickhouse import ClickHouse, ClickHouseConfig

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

LONGEST = (
    "integration/test_streaming.py",
    "integration/test_every_runner.py",
    "integration/test_long_worker.py",
    "faults/test_kill_matrix.py",
    "integration/test_cli.py",
    "contract/test_query_reads.py",
    "contract/test_two_workers.py",
    "contract/test_query_lists.py",
    "contract/test_version_01.py",
    "faults/",
    "integration/",
    "contract/",
)
"""Files and directories that take longest, in the order in which they begin. See docs/testing.md."""

NO_PASSWORD = "env:A_VARIABLE_THAT_IS_NOT_SET"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((number for number, start in enumerate(LONGEST) if path.startswith(start)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def embedded_admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """The one embedded engine of this process, open as long as the tests run."""
    path = tmp_path_factory.mktemp("embedded") / "clickhouse"
    with ClickHouseConfig(url=f"chdb://{path}", retry_delay_s=0.05).connect(create=True) as client:
        yield client


@pytest.fixture(scope="session")
def session_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path_factory.mktemp("endpoint") / "clickhouse") as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(session_endpoint: ClickHouseEndpoint) -> Iterator[ClickHouseEndpoint]:
    """The endpoint that tests share, for tests that set faults: they are gone after the test, and it is running."""
    yield session_endpoint
    if session_endpoint.running:
        session_endpoint.clear_faults()
    else:
        session_endpoint.restart()


@pytest.fixture(scope="session")
def clickhouse_server(request: pytest.FixtureRequest) -> ClickHouseConfig:
    """A server over HTTP: the one at CLICKHOUSE_URL (CLICKHOUSE_USER, CLICKHOUSE_PASSWORD), or else an endpoint."""
    url = os.environ.get("CLICKHOUSE_URL", "")
    if url.startswith("http"):
        return ClickHouseConfig(url=url, user=os.environ.get("CLICKHOUSE_USER", "default"), retry_delay_s=0.05)
    endpoint = request.getfixturevalue("session_endpoint")
    return ClickHouseConfig(url=endpoint.url, password=NO_PASSWORD, retry_delay_s=0.05)


@pytest.fixture(scope="session")
def server_admin(clickhouse_server: ClickHouseConfig) -> Iterator[ClickHouse]:
    with clickhouse_server.connect() as client:
        yield client


@pytest.fixture
def embedded_config(embedded_admin: ClickHouse) -> Iterator[ClickHouseConfig]:
    """A fresh database in the engine of this process."""
    with fresh_database(embedded_admin) as config:
        yield config


@pytest.fixture
def embedded(embedded_config: ClickHouseConfig) -> Iterator[ClickHouse]:
    """A client on a fresh database in the engine of this process."""
    with embedded_config.connect() as client:
        yield client


@pytest.fixture
def http_config(server_admin: ClickHouse) -> Iterator[ClickHouseConfig]:
    """A fresh database on the server over HTTP."""
    with fresh_database(server_admin) as config:
        yield config


@pytest.fixture(params=["embedded", "http"])
def clickhouse_config(request: pytest.FixtureRequest) -> ClickHouseConfig:
    """A fresh database, once embedded and once over HTTP."""
    config: ClickHouseConfig = request.getfixturevalue(f"{request.param}_config")
    return config


@pytest.fixture
def clickhouse(clickhouse_config: ClickHouseConfig) -> Iterator[ClickHouse]:
    """A client on a fresh database, once embedded and once over HTTP."""
    with clickhouse_config.connect() as client:
        yield client


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def shared(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A client on a database of the module's own, with all tables, once embedded and once over HTTP. Nothing expires."""
    with fresh_database(request.getfixturevalue(request.param)) as config, config.connect() as client:
        make_tables(client, FOR_EVER)
        yield client


@pytest.fixture
def emptied(shared: ClickHouse) -> ClickHouse:
    """The module's database with empty tables: as a fresh one to who does not ask how old it is, in a tenth of the time."""
    empty_tables(shared)
    return shared


@pytest.fixture(scope="session")
def database_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an embedded database that has all tables and that nobody has open, for `copy_database`."""
    return make_database_to_copy(tmp_path_factory.mktemp("tables") / "clickhouse")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of an S3 on this machine."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """The URL of a Google Cloud Storage on this machine."""
    with gcs_server() as url:
        yield url


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long clients have waited before they tried again, in seconds. In truth they do not wait."""
    seconds: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=seconds.append))
    return seconds
