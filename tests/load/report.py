"""What a run showed, as docs/reliability.md."""

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from tests.load.annotators import THINK_SECONDS, TYPE_AGAIN_SECONDS
from tests.load.memory import MOST_GROWTH
from tests.load.stages import LoadResult, StageResult

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class RunDescription:
    """What was run: for the reader, and to run it again."""

    command: str
    model_version: str
    annotators: int
    load_before: float
    notes: Sequence[str]


def report(result: LoadResult, run: RunDescription) -> str:
    """The whole document."""
    prompts = [prompt for stage in result.stages for prompt in stage.prompts]
    tasks = sum(stage.batch.tasks for stage in result.stages)
    lines = [
        "# Reliability under load",
        "",
        "Written by the command below: do not edit. A real Label Studio, redis, web process and",
        f"one worker on one machine; {run.annotators} annotators who type a prompt every "
        f"{THINK_SECONDS[0]:.0f} to {THINK_SECONDS[1]:.0f} s about",
        "photos that are all different, while batches (*Retrieve predictions* in Label Studio,",
        "four labels per photo) run behind; one fault after the other; and a fine-tuning on the",
        "same device, its start included. An annotator who gets",
        f"no answer types the prompt again after {TYPE_AGAIN_SECONDS:.0f} s; a wait is the time "
        "from the first try to the mask.",
        "",
        "```sh",
        run.command,
        "```",
        "",
        f"- {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {_commit()}, "
        f"model {run.model_version}",
        f"- {_machine()}; load average {run.load_before:.1f} before the run",
        *(f"- {note}" for note in run.notes),
        "",
        f"**{len(prompts)} prompts and {tasks} batch tasks: {result.lost} lost, "
        f"{result.doubled} doubled.**",
        "",
        "## Waits and throughput",
        "",
        "Waits for an interactive prompt in seconds; batch tasks stored in Label Studio, and how",
        "long after *Retrieve* half, 95 % and 99 % of them were.",
        "",
        *_table(
            "stage|prompts|p50|p95|p99|longest|batch tasks|per minute|p50|p95|p99",
            [_throughput(stage) for stage in result.stages],
        ),
        "",
        "## Faults",
        "",
        "*Normal again* counts from the fault's beginning to the last answer that took longer than",
        "any without a fault, or failed at first. *Lost* and *doubled* count prompts and batch",
        "tasks; *asked again* is how often *Retrieve* had to be pressed a second time.",
        "",
        *_table(
            "fault|lasted|prompts that failed at first|longest wait|lost|doubled|asked again"
            "|normal again after",
            [_fault(stage, result.stages[0]) for stage in result.stages[1:]],
        ),
        "",
        "## Memory",
        "",
        "Resident memory in MiB of the process of each kind that lived longest; the slope is that",
        f"of its last two thirds. Flat is what grew by {MOST_GROWTH:.0%} or less along it. Redis",
        "keeps results for an hour (`SELF1E_RESULT_TTL`), so it grows with the answers in that",
        f"hour: {result.redis_mb:.1f} MiB at the end.",
        "",
        *_table(
            "process|started|minutes|first|last|highest|slope per minute|flat",
            [
                [
                    use.role,
                    str(use.processes),
                    f"{use.minutes:.1f}",
                    f"{use.first:.0f}",
                    f"{use.last:.0f}",
                    f"{use.highest:.0f}",
                    f"{use.slope:+.1f}",
                    {True: "yes", False: "**no**", None: "-"}[use.is_flat],
                ]
                for use in result.memory
            ],
        ),
        "",
    ]
    return "\n".join(lines)


def _throughput(stage: StageResult) -> list[str]:
    waits = [prompt.wait for prompt in stage.prompts]
    stored = stage.batch.stored_after
    per_minute = f"{len(stored) / stored[-1] * 60:.0f}" if stored else "0"
    return [
        stage.name,
        str(len(waits)),
        *_percentiles(waits),
        f"{max(waits):.1f}" if waits else "",
        str(stage.batch.tasks),
        per_minute,
        *_percentiles(stored),
    ]


def _fault(stage: StageResult, undisturbed: StageResult) -> list[str]:
    failed = [prompt for prompt in stage.prompts if prompt.errors]
    kinds = Counter(error for prompt in failed for error in prompt.errors)
    errors = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    longest_normal = max(prompt.wait for prompt in undisturbed.prompts)
    unanswered = sum(prompt.answered_at is None for prompt in stage.prompts)
    return [
        stage.name,
        _seconds(stage.fault_over_at - stage.fault_at),
        f"{len(failed)} of {len(stage.prompts)}" + (f" ({errors})" if errors else ""),
        _seconds(max(prompt.wait for prompt in stage.prompts)),
        str(unanswered + stage.batch.lost),
        str(stage.batch.doubled),
        str(stage.batch.asked - 1),
        _seconds(stage.normal_after(longest_normal)),
    ]


def _percentiles(values: Sequence[float]) -> list[str]:
    if not values:
        return ["", "", ""]
    return [f"{value:.1f}" for value in np.percentile(values, [50, 95, 99], method="higher")]


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _table(header: str, rows: Sequence[Sequence[str]]) -> list[str]:
    names = header.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()}"


def _commit() -> str:
    command = ["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    return ran.stdout.strip() or "unknown"
