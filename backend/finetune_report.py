"""The report of a fine-tuning as HTML: one file that needs no other; every value in it is escaped.

Its elements are those of `report_elements`.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from typing import Any

from backend.gate import Comparison, GeneralMeasure
from backend.report_curves import loss_curves
from backend.report_elements import (
    change,
    document,
    fact_table,
    figure_table,
    giou_cells,
    interval,
    section,
    table,
)
from backend.report_pictures import HeldOutResult, Pictures
from backend.report_store import RunRecord
from backend.training_samples import CollectedSamples, LeftOut

_MOST_LABELS = 200
_MOST_REASONS = 100


@dataclass(frozen=True)
class FinetuneReport:
    """What a run did, measured and decided, but for its ending (`RunRecord`).

    `command` is as it was typed. `split` gives, by what they were for, the numbers of samples and
    of photos. `results` are of the held-out samples, and `improved` and `worsened` the pictures of
    those that changed most. `kept_share` says how much of what was learned is kept, 0..1.
    `left_out` is what could not be written for training; what could not be collected is in
    `collected`.
    """

    command: str
    collected: CollectedSamples
    left_out: Mapping[str, LeftOut]
    split: Mapping[str, tuple[int, int]]
    recipe: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    held_out: Comparison
    general: Comparison
    measure: GeneralMeasure
    kept_share: float
    margin: float
    results: Sequence[HeldOutResult]
    improved: Sequence[Pictures]
    worsened: Sequence[Pictures]


@dataclass(frozen=True)
class LabelFigures:
    """The held-out samples of one label: mean IoU before and after, 0..1."""

    label: str
    samples: int
    photos: int
    giou_before: float
    giou_after: float


def by_label(results: Iterable[HeldOutResult]) -> list[LabelFigures]:
    """Figures of each label, the most frequent first; "" stands for none."""
    groups: dict[str, list[HeldOutResult]] = {}
    for result in results:
        groups.setdefault(result.label, []).append(result)
    figures = [_figures(label, group) for label, group in groups.items()]
    return sorted(figures, key=lambda row: (-row.samples, row.label))


def _figures(label: str, group: Sequence[HeldOutResult]) -> LabelFigures:
    return LabelFigures(
        label,
        samples=len(group),
        photos=len({result.sample.image for result in group}),
        giou_before=sum(result.before.iou for result in group) / len(group),
        giou_after=sum(result.after.iou for result in group) / len(group),
    )


def report_html(record: RunRecord, report: FinetuneReport) -> str:
    """The whole file."""
    body = "".join(
        [
            _verdict(record),
            _compared(report),
            _labels(report),
            _losses(report),
            _gallery("Most improved", report.improved, "No held-out photo became better."),
            _gallery("Most worsened", report.worsened, "No held-out photo became worse."),
            _samples(report),
            _left_out(report),
            _run(record, report),
            _recipe(report),
        ]
    )
    # A label from JSON may hold half a character, which no file in UTF-8 can.
    return document(f"Fine-tuning {record.run}", body).encode(errors="replace").decode()


def _verdict(record: RunRecord) -> str:
    if not record.version:
        kind, said = "refused", f"Not published: {record.parent} goes on being served."
    elif record.reasons:
        kind, said = "forced", f"Published by force as {record.version}. Against it spoke:"
    else:
        kind, said = "passed", f"Passed, and published as {record.version}."
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in record.reasons)
    listed = f"<ul>{reasons}</ul>" if reasons else ""
    return f'<div class="verdict {kind}"><b>{escape(said)}</b>{listed}</div>'


def _compared(report: FinetuneReport) -> str:
    general = "not taught" if report.measure == "agreement" else "replay samples"
    rows = [
        (
            escape(title),
            str(compared.samples),
            str(compared.photos),
            *giou_cells(compared.giou_before, compared.giou_after),
            interval(compared),
            "-"
            if compared.ciou_before is None
            else f"{compared.ciou_before:.3f} → {compared.ciou_after:.3f}",
        )
        for title, compared in (("held-out photos", report.held_out), (general, report.general))
    ]
    note = (
        "The new version must be better on the held-out photos, beyond chance: the whole interval "
        "above 0. On the second row, what was not taught, it may lose at most "
        f"{report.margin:.3f}."
    )
    if report.measure == "agreement":
        note += " There the truth is unknown, and the former version's own certainty stands for it."
    heads = (
        "compared on", "prompts", "photos", "gIoU before", "after", "change", "95 % between", "cIoU"
    )  # fmt: skip
    return section("The gate", figure_table(heads, rows) + f'<p class="note">{escape(note)}</p>')


def _labels(report: FinetuneReport) -> str:
    figures = by_label(report.results)
    shown = [(escape(row.label or "(none)"), row) for row in figures[:_MOST_LABELS]]
    rest = {row.label for row in figures[_MOST_LABELS:]}
    if rest:
        others = _figures("", [result for result in report.results if result.label in rest])
        shown.append((f"{len(rest)} other labels", others))
    rows = [
        (
            title,
            str(row.samples),
            str(row.photos),
            *giou_cells(row.giou_before, row.giou_after),
            "",
        )
        for title, row in shown
    ]
    total = (
        "all",
        str(report.held_out.samples),
        str(report.held_out.photos),
        *giou_cells(report.held_out.giou_before, report.held_out.giou_after),
        interval(report.held_out),
    )
    heads = ("label", "samples", "photos", "gIoU before", "after", "change", "95 % between")
    return section("Held-out photos by label", figure_table(heads, rows, total))


def _losses(report: FinetuneReport) -> str:
    drawn = loss_curves(report.history)
    if not drawn:
        return section("Losses", "<p>None were written down.</p>")
    key = (
        '<p><span class="key training">●</span> training '
        '<span class="key validation">●</span> validation; '
        "the circle is the lowest validation loss, whose weights were kept</p>"
    )
    return section("Losses", drawn + key)


def _gallery(title: str, pictures: Sequence[Pictures], nothing: str) -> str:
    if not pictures:
        return section(title, f"<p>{escape(nothing)}</p>")
    return section(title, f'<div class="gallery">{"".join(map(_pictures, pictures))}</div>')


def _pictures(pictures: Pictures) -> str:
    result = pictures.result
    label = f" ({result.label})" if result.label else ""
    shown = "".join(
        f'<span><img alt="{name}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
        f"{name}{figure}</span>"
        for name, figure, jpeg in (
            ("before", f" {result.before.iou:.3f}", pictures.before),
            ("after", f" {result.after.iou:.3f}", pictures.after),
            ("truth", "", pictures.truth),
        )
    )
    return (
        f"<figure><figcaption>task {result.task_id}: <b>{escape(result.sample.prompt)}</b>"
        f"{escape(label)} {change(result.difference)}</figcaption><div>{shown}</div></figure>"
    )


def _samples(report: FinetuneReport) -> str:
    rows = [
        (escape(use), str(samples), str(photos)) for use, (samples, photos) in report.split.items()
    ]
    collected = report.collected
    tasks = len({sample.task_id for sample in collected.samples})
    note = (
        f"Collected: {len(collected.samples)} samples of {tasks} tasks from "
        f"{collected.annotations} annotations. Of several annotations of a task: "
        f"{collected.annotators_rule}."
    )
    split = figure_table(("samples", "prompts", "photos"), rows)
    return section("What it learned from", f"{split}<p>{escape(note)}</p>")


def _left_out(report: FinetuneReport) -> str:
    every = [*report.collected.left_out.items(), *report.left_out.items()]
    if not every:
        return section("Left out", "<p>Nothing.</p>")
    rows = [
        (str(left_out.count), escape(reason), ", ".join(map(str, left_out.task_ids)))
        for reason, left_out in every[:_MOST_REASONS]
    ]
    if len(every) > _MOST_REASONS:
        count = sum(left_out.count for _, left_out in every[_MOST_REASONS:])
        rows.append((str(count), f"{len(every) - _MOST_REASONS} other reasons", ""))
    return section("Left out", table(("count", "reason", "first tasks"), rows))


def _run(record: RunRecord, report: FinetuneReport) -> str:
    ended = datetime.fromtimestamp(record.ended_at, timezone.utc)
    return section(
        "The run",
        fact_table(
            {
                "ended": f"{ended:%Y-%m-%d %H:%M:%S} UTC",
                "command": report.command,
                "run": record.run,
                "parent": record.parent,
                "version": record.version or "none",
                "of the change kept": f"{report.kept_share:.0%}",
                "fingerprint of the samples": report.collected.fingerprint,
            }
        ),
    )


def _recipe(report: FinetuneReport) -> str:
    return section("Recipe", fact_table(_flat(report.recipe)))


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat
