"""JSON in `query` as users meet it: keys with dots, and output that any parser of JSON takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, Finished
from tests.support.dataset import event

LOGS = (
    '{"http.method":"GET","http.status_code":200,"big":1e400,"twice":1,"twice":2}',
    '{"http":{"method":"GET"},"a=b":"c"}',
    '{"gen_ai.system":"openai","gen_ai":{"usage":{"input_tokens":12}},"tags":["x",{"name":"y"}]}',
)
LABELS = ('{"service.name":"a"}', '{"service":{"name":"b"}}')


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("in") / "observability"
    logs = [event("log", f"l{n}", attributes={}).replace("{}", text) for n, text in enumerate(LOGS)]
    metrics = [event("metric", f"m{n}", value=1e308, labels={}).replace("{}", text) for n, text in enumerate(LABELS)]
    scores = [event("score", f"s{n}", value=1e308) for n in range(2)]
    for kind, lines in (("log", logs), ("metric", metrics), ("score", scores)):
        path = root / kind / "p" / "20261120T120000Z_00.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
    assert CommandLine().run(f"--input={root}").code == 0
    return root


def query(root: Path, *arguments: str) -> Finished:
    return CommandLine().run("query", *arguments, f"--input={root}")


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (("http.method=GET",), ["l0", "l1"]),
        (('["http.method"]=GET', "http.status_code=200"), ["l0"]),
        (('["http","method"]=GET', '["a=b"]=c'), ["l1"]),
        (("gen_ai.system=openai", "gen_ai.usage.input_tokens=12", "tags.1.name=y", '["tags",0]=x'), ["l2"]),
        (("twice=1", "big=null"), ["l0"]),
    ],
)
def test_attributes_are_found_by_keys_with_dots(root: Path, filters: tuple[str, ...], ids: list[str]) -> None:
    told = query(root, "logs", *(f"--attributes={one}" for one in filters), "--json").json
    assert [log["id"] for log in told["logs"]] == ids
    for log in told["logs"]:
        if log["id"] == "l0":
            assert (log["attributes"]["twice"], log["attributes"]["big"]) == (1, None)


def test_labels_with_dots_are_groups(root: Path) -> None:
    told = query(
        *(root, "series", "--measure=metrics", "--interval=1d", "--json", "--percentiles=0.5"),
        '--group_by=labels.service.name,labels["service.name"]',
    ).json
    groups = {tuple(one["group"].items()): one["buckets"][0]["values"]["p50"] for one in told["series"]}
    name, exact = "labels.service.name", 'labels["service.name"]'
    assert groups == {((name, "a"), (exact, "a")): 1e308, ((name, "b"), (exact, None)): 1e308}


def test_a_sum_beyond_a_double_is_null_in_json_and_short_in_a_table(root: Path) -> None:
    asked = ("series", "--measure=metrics", "--interval=1d", "--percentiles=0.5")
    values = query(root, *asked, "--json").json["series"][0]["buckets"][0]["values"]
    assert values == {"sum": None, "avg": None, "min": 1e308, "max": 1e308, "p50": 1e308}
    table = query(root, *asked).out
    assert "1e+308" in table and "00000000" not in table
    scores = query(root, "distribution", "--percentiles=0.5").out
    assert "2 scores, min 1e+308, max 1e+308, p50 1e+308" in scores and "00000000" not in scores
