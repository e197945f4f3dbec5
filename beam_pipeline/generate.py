"""Synthetic events as applications write them, for a demonstration, a load test or a benchmark."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from transforms.events import EVENT_TYPES
from transforms.events.types import MAX_MS, MIN_MS
from transforms.storage.compression import compress

DIALECTS = ("flat", "envelope", "mixed")
COMPRESSIONS = ("none", "gz", "zst")
WEIGHTS = {"trace": 10, "span": 45, "log": 25, "metric": 15, "score": 5}
"""How many of a hundred events are of each type."""

_DAY_MS = 86_400_000
_NAMES = (
    "agent.run",
    "workflow.execute",
    "http.request",
    "tool.call",
    "rag.retrieve",
    "llm.generate",
    "db.query",
    "queue.poll",
)
_MODELS = ("gpt-5", "claude-sonnet", "gemini-pro", "llama-70b")
_METRICS = (
    ("tokens.used", "counter", "tokens"),
    ("queue.depth", "gauge", "items"),
    ("request.latency", "histogram", "ms"),
)
_SCORES = ("relevance", "faithfulness", "toxicity", "helpfulness")
_KINDS = ("internal", "server", "client", "producer", "consumer")
_LEVELS = ("debug", "info", "info", "info", "warn", "error")
_MESSAGES = (
    "request finished",
    "cache miss, asking the upstream",
    "retrying after a timeout",
    "payload validated against its schema",
    "context window trimmed to fit the model",
)
_FILLER = "the quick brown fox jumps over the lazy dog while the agent thinks about what to answer next; "
_BAD_LINES = (
    '{"type":"trace","id":',
    "not json at all",
    '{"type":"alien","id":"x"}',
    "[1,2,3]",
    '{"type":"log","id":"l"}',
)

_MOST = {
    "events": 10_000_000_000,
    "events_per_file": 10_000_000,
    "projects": 1_000_000,
    "deployments": 1_000_000,
}


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate. The same options and seed give the same files, except that the default times follow the clock."""

    output: str
    """Directory to write into: the later `--input`."""
    events: int = 200_000
    events_per_file: int = 2_000
    event_types: tuple[str, ...] = EVENT_TYPES
    projects: int = 3
    deployments: int = 2
    start_ms: int | None = None
    """Epoch milliseconds of the earliest event; a day before the end by default."""
    end_ms: int | None = None
    """Epoch milliseconds of the latest event; now by default."""
    seed: int = 0
    dialect: str = "mixed"
    bad_ratio: float = 0.0
    """Part of the lines that are broken on purpose."""
    compression: str = "none"
    """What files are compressed with, which is added to their names."""

    def problems(self) -> list[str]:
        """Everything that is wrong with the options."""
        found = []
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                found.append(f"--{name}: {getattr(self, name)} must be from 1 to {most:,}")
        if self.dialect not in DIALECTS:
            found.append(f"--dialect: {self.dialect!r} must be one of {', '.join(DIALECTS)}")
        if self.compression not in COMPRESSIONS:
            found.append(f"--compression: {self.compression!r} must be one of {', '.join(COMPRESSIONS)}")
        if not 0 <= self.bad_ratio <= 1:
            found.append(f"--bad_ratio: {self.bad_ratio} must be between 0 and 1")
        unknown = [name for name in self.event_types if name not in EVENT_TYPES]
        if unknown or not self.event_types:
            found.append(f"--event_types: {','.join(self.event_types)!r} must be some of {','.join(EVENT_TYPES)}")
        for name in ("start", "end"):
            at = getattr(self, f"{name}_ms")
            if at is not None and not MIN_MS <= at <= MAX_MS:
                found.append(f"--{name}: must be from 1900 to 2299, the times that a table can hold")
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            found.append("--start: must be before --end")
        if "://" in self.output:
            found.append(
                f"--output: {self.output} must be a directory; copy it to a bucket with the tools of the store"
            )
        if os.path.exists(self.output) and not os.path.isdir(self.output):
            found.append(f"--output: {self.output} is not a directory")
        return found


@dataclass
class GeneratedFiles:
    """What was written: files, bytes as they are stored, events by type, and lines that are broken on purpose."""

    files: int = 0
    bytes: int = 0
    events: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0


def generate(options: GenerateOptions) -> GeneratedFiles:
    """Writes the files, each under a temporary name first, so that a running pipeline never sees half a file."""
    chance = random.Random(options.seed)
    end_ms = options.end_ms if options.end_ms is not None else int(time.time() * 1000)
    start_ms = options.start_ms if options.start_ms is not None else end_ms - _DAY_MS
    plan = list(_plan(options))
    written = GeneratedFiles()
    step = max(1, (end_ms - start_ms) // max(1, len(plan)))
    for number, (event_type, project, events) in enumerate(plan):
        # A file holds the events of a short while and is named by its end, as a writer's buffer is flushed.
        file_start = start_ms + number * step
        make = _Maker(options, chance, event_type, f"project-{project}", file_start, step, number)
        bad = sum(chance.random() < options.bad_ratio for _ in range(events)) if options.bad_ratio else 0
        lines = [make.line(index) for index in range(events - bad)]
        for _ in range(bad):
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(_BAD_LINES))
        stamp = datetime.fromtimestamp(min(file_start + step, end_ms) / 1000, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        name = f"{stamp}_{chance.getrandbits(64):016x}.jsonl"
        content = ("\n".join(lines) + "\n").encode()
        if options.compression != "none":
            name += f".{options.compression}"
            content = compress(content, name)
        directory = Path(options.output, event_type, f"project-{project}")
        directory.mkdir(parents=True, exist_ok=True)
        temporary = directory / f".{name}.tmp"
        try:
            temporary.write_bytes(content)
            temporary.rename(directory / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            error.filename = str(directory / name)  # which an error of writing lacks
            raise
        written.files += 1
        written.bytes += len(content)
        written.events[event_type] += events - bad
        written.bad_lines += bad
    return written


def _plan(options: GenerateOptions) -> Iterator[tuple[str, int, int]]:
    """(event type, project, events) of each file, types and projects taking turns as they would in time."""
    total = sum(WEIGHTS[name] for name in options.event_types)
    left = {name: options.events * WEIGHTS[name] // total for name in options.event_types}
    left[options.event_types[0]] += options.events - sum(left.values())
    turns: list[tuple[float, str, int, int]] = []
    for name, events in left.items():
        files = max(1, -(-events // options.events_per_file)) if events else 0
        for number in range(files):
            share = events * (number + 1) // files - events * number // files
            turns.append(((number + 0.5) / files, name, number % options.projects, share))
    for _, name, project, events in sorted(turns):
        yield name, project, events


class _Maker:
    """Makes the lines of one file. One f-string an event: a load test needs many of them."""

    def __init__(
        self,
        options: GenerateOptions,
        chance: random.Random,
        event_type: str,
        project: str,
        start: int,
        step: int,
        file: int,
    ) -> None:
        self._random = chance.random
        self._choice = chance.choice
        self._prefix = f"{options.seed:x}{file:06x}"
        self._project = project
        self._deployments = [f"deployment-{number}" for number in range(options.deployments)]
        self._start = start
        self._length = max(1, step)
        self._dialect = options.dialect
        self._make: Callable[[int], tuple[str, str, str]] = getattr(self, f"_{event_type}")
        self._type = event_type
        self._second = -1
        self._clock = ""

    def line(self, index: int) -> str:
        """One event: flat or in an envelope, with the names that each dialect uses for ids and for a metric's kind."""
        if self._dialect == "flat" or (self._dialect == "mixed" and index & 1):
            names, body = ('"id"', '"metricType"'), ""
        else:
            names, body = (f'"{self._type}Id"' if self._type in ("trace", "span") else '"id"', '"type"'), "data"
        identity, rest, kind = self._make(index)
        fields = f'{names[0]}:"{identity}","projectId":"{self._project}",{rest}'
        if kind:
            fields += f',{names[1]}:"{kind}"'
        return f'{{"type":"{self._type}","data":{{{fields}}}}}' if body else f'{{"type":"{self._type}",{fields}}}'

    def _time(self, epoch_ms: int) -> str:
        second, millisecond = divmod(epoch_ms, 1000)
        if second != self._second:
            self._second = second
            self._clock = datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._clock}.{millisecond:03d}Z"

    def _common(self, index: int) -> tuple[int, str, str]:
        at = self._start + int(self._random() * self._length)
        return at, self._choice(self._deployments), f"{self._prefix}{index // 5:08x}"

    def _trace(self, index: int) -> tuple[str, str, str]:
        at, deployment, _ = self._common(index)
        duration = int(self._random() * 5000)
        status = "error" if self._random() < 0.05 else "ok"
        return (
            f"t{self._prefix}{index:08x}",
            f'"deploymentId":"{deployment}","name":"{self._choice(_NAMES)}","status":"{status}",'
            f'"startTime":"{self._time(at)}","endTime":"{self._time(at + duration)}","durationMs":{duration},'
            f'"input":{{"prompt":"{_FILLER}"}},"output":{{"text":"{_FILLER[:60]}","tokens":{index % 900}}},'
            f'"metadata":{{"userId":"user-{index % 997}","tier":"pro"}},"recordedAt":"{self._time(at + duration)}"',
            "",
        )

    def _span(self, index: int) -> tuple[str, str, str]:
        at, deployment, trace = self._common(index)
        duration = int(self._random() * 1500)
        place = index % 5
        parent = f'"parentSpanId":"s{self._prefix}{index - 1:08x}",' if place else ""
        return (
            f"s{self._prefix}{index:08x}",
            f'"traceId":"t{trace}",{parent}"deploymentId":"{deployment}","name":"{self._choice(_NAMES)}",'
            f'"kind":"{_KINDS[place]}","status":"ok","startTime":"{self._time(at)}","endTime":"{self._time(at + duration)}",'
            f'"durationMs":{duration},"attributes":{{"model":"{self._choice(_MODELS)}","tokens":{index % 4000},'
            f'"cached":false,"note":"{_FILLER}"}},"events":[{{"name":"start","offsetMs":0}}]',
            "",
        )

    def _log(self, index: int) -> tuple[str, str, str]:
        at, deployment, trace = self._common(index)
        return (
            f"l{self._prefix}{index:08x}",
            f'"deploymentId":"{deployment}","traceId":"t{trace}","level":"{self._choice(_LEVELS)}",'
            f'"message":"{self._choice(_MESSAGES)}: item {index}, {_FILLER}","timestamp":"{self._time(at)}",'
            f'"attributes":{{"thread":"worker-{index % 16}","attempt":{index % 4}}}',
            "",
        )

    def _metric(self, index: int) -> tuple[str, str, str]:
        at, deployment, _ = self._common(index)
        name, kind, unit = self._choice(_METRICS)
        return (
            f"m{self._prefix}{index:08x}",
            f'"deploymentId":"{deployment}","name":"{name}","value":{self._random() * 1000:.3f},"unit":"{unit}",'
            f'"timestamp":"{self._time(at)}","labels":{{"region":"eu-{index % 3}","host":"host-{index % 40}"}}',
            kind,
        )

    def _score(self, index: int) -> tuple[str, str, str]:
        at, deployment, trace = self._common(index)
        value = self._random()
        return (
            f"c{self._prefix}{index:08x}",
            f'"deploymentId":"{deployment}","traceId":"t{trace}","name":"{self._choice(_SCORES)}","value":{value:.4f},'
            f'"normalizedValue":{value:.2f},"comment":{json.dumps(_FILLER[:40])},"timestamp":"{self._time(at)}",'
            f'"metadata":{{"judge":"{self._choice(_MODELS)}"}}',
            "",
        )
