from __future__ import annotations

import subprocess
import sys

import pytest

import beam_pipeline


@pytest.mark.parametrize("name", beam_pipeline.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(beam_pipeline, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        beam_pipeline.no_such_name  # noqa: B018


def test_importing_the_package_waits_for_nothing_heavy() -> None:
    heavy = "{'apache_beam', 'chdb', 'pyarrow', 'clickhouse_connect'} & set(sys.modules)"
    code = f"import sys, beam_pipeline; sys.exit(str({heavy}) if {heavy} else 0)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
