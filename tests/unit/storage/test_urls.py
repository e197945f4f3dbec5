"""What a text given as the input means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig, InvalidConfig
from transforms.storage.urls import input_root, is_url, scheme_of, url_problem, without_credentials


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://Bucket/Pre fix//", "s3://Bucket/Pre fix"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("gcs://bucket/x/", "gs://bucket/x"),
        ("gs://bucket/x?y#z", "gs://bucket/x?y#z"),
        ("memory://a/b", "memory://a/b"),
    ],
)
def test_an_input_in_a_bucket_has_one_name_only(text: str, root: str) -> None:
    assert is_url(text) and url_problem(text) == ""
    assert input_root(text) == input_root(root) == root
    assert IngestConfig(text, ClickHouseConfig("http://h:1")).input == root, "paths are told by how they begin"


def test_a_directory_is_a_path_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for text in (f"{tmp_path}/link/", f"file://{tmp_path}/link", f"FILE://{tmp_path}/in"):
        assert not is_url(text) and input_root(text) == str(tmp_path / "in")


@pytest.mark.parametrize(
    "url", ["s3://key:hush@b/x", "s3://key@b/x", "gs://hush@b", "sftp://me:hush@host/x", "S3A://k:h/ush@b"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    problem = url_problem(url)
    if "@" in url.partition("://")[2].partition("/")[0]:
        assert "credentials" in problem and "hush" not in problem
        with pytest.raises(InvalidConfig) as refused:
            IngestConfig(url, ClickHouseConfig("http://h:1"))
        assert "hush" not in str(refused.value)


def test_messages_of_libraries_lose_their_credentials() -> None:
    said = 'cannot reach\n "http://me:hush@host:9/x" or s3://k:h@b, only http://host/a@b'
    assert without_credentials(said) == 'cannot reach "http://host:9/x" or s3://b, only http://host/a@b'


@given(st.text())
def test_any_text_is_a_path_or_a_url_or_has_a_problem(text: str) -> None:
    assert isinstance(url_problem(text), str)
    assert is_url(text) == (scheme_of(text) not in ("", "file"))
