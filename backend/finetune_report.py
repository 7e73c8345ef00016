"""The report of a fine-tuning as HTML: one file that needs no other; every value in it is escaped.

It has no script. Its Content-Security-Policy stands in it, too, for whoever opens it from the disk.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from typing import Any

from backend.gate import Comparison, GeneralMeasure
from backend.report_curves import loss_curves
from backend.report_pictures import HeldOutResult, Pictures
from backend.report_policy import policy_of_style
from backend.report_store import RunRecord
from backend.training_samples import CollectedSamples, LeftOut

_MOST_LABELS = 200
_MOST_REASONS = 100

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 2rem 0 .3rem; }
p { margin: .3rem 0; } .note { opacity: .7; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
td { overflow-wrap: anywhere; }
thead th { font-weight: 600; opacity: .7; } tbody tr, tfoot tr { border-top: 1px solid #8884; }
tbody th { font-weight: 400; width: 14rem; } tfoot td { font-weight: 600; }
table.figures td + td, table.figures th + th { text-align: right; white-space: nowrap;
  overflow-wrap: normal; font-variant-numeric: tabular-nums; }
@media (max-width: 50rem) { table.figures td + td, table.figures th + th { white-space: normal; } }
.better { color: #18864b; } .worse { color: #c33; }
.verdict { border-left: .4rem solid; padding: .5rem 1rem; background: #8881; }
.verdict.passed { border-color: #18864b; } .verdict.refused { border-color: #c33; }
.verdict.forced { border-color: #c80; } .verdict b { font-size: 1.1rem; }
.verdict ul { margin: .3rem 0; padding-left: 1.2rem; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; opacity: .7; }
svg .grid { stroke: #8884; } svg polyline { fill: none; stroke-width: 2; }
svg polyline.training { stroke: #3b82c4; } svg circle.training { fill: #3b82c4; }
svg polyline.validation { stroke: #d9772b; } svg circle.validation { fill: #d9772b; }
svg circle.best { fill: none; stroke: #d9772b; stroke-width: 2; }
.key.training { color: #3b82c4; } .key.validation { color: #d9772b; }
.gallery { display: grid; gap: 1.2rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 34rem), 1fr)); }
figure { margin: 0; }
figure > div { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: .4rem; }
figure span { font-size: .85rem; } figure img { display: block; width: 100%; }
figcaption { overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class FinetuneReport:
    """What a run did, measured and decided, but for its ending (`RunRecord`).

    `command` is as it was typed. `split` gives, by what they were for, the numbers of samples and
    of photos. `results` are of the held-out samples, and `improved` and `worsened` the pictures of
    those that changed most. `left_out` is what could not be written for training; what could not be
    collected is in `collected`.
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
    title = f"Fine-tuning {record.run}"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy_of_style(_STYLE))}">'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><title>{escape(title)}</title></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )
    # A label from JSON may hold half a character, which no file in UTF-8 can.
    return page.encode(errors="replace").decode()


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
            *_giou(compared.giou_before, compared.giou_after),
            _interval(compared),
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
    return _section("The gate", _figure_table(heads, rows) + f'<p class="note">{escape(note)}</p>')


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
            *_giou(row.giou_before, row.giou_after),
            "",
        )
        for title, row in shown
    ]
    total = (
        "all",
        str(report.held_out.samples),
        str(report.held_out.photos),
        *_giou(report.held_out.giou_before, report.held_out.giou_after),
        _interval(report.held_out),
    )
    heads = ("label", "samples", "photos", "gIoU before", "after", "change", "95 % between")
    return _section("Held-out photos by label", _figure_table(heads, rows, total))


def _losses(report: FinetuneReport) -> str:
    drawn = loss_curves(report.history)
    if not drawn:
        return _section("Losses", "<p>None were written down.</p>")
    key = (
        '<p><span class="key training">●</span> training '
        '<span class="key validation">●</span> validation; '
        "the circle is the lowest validation loss, whose weights were kept</p>"
    )
    return _section("Losses", drawn + key)


def _gallery(title: str, pictures: Sequence[Pictures], nothing: str) -> str:
    if not pictures:
        return _section(title, f"<p>{escape(nothing)}</p>")
    return _section(title, f'<div class="gallery">{"".join(map(_pictures, pictures))}</div>')


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
        f"{escape(label)} {_change(result.difference)}</figcaption><div>{shown}</div></figure>"
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
    table = _figure_table(("samples", "prompts", "photos"), rows)
    return _section("What it learned from", f"{table}<p>{escape(note)}</p>")


def _left_out(report: FinetuneReport) -> str:
    every = [*report.collected.left_out.items(), *report.left_out.items()]
    if not every:
        return _section("Left out", "<p>Nothing.</p>")
    rows = [
        (str(left_out.count), escape(reason), ", ".join(map(str, left_out.task_ids)))
        for reason, left_out in every[:_MOST_REASONS]
    ]
    if len(every) > _MOST_REASONS:
        count = sum(left_out.count for _, left_out in every[_MOST_REASONS:])
        rows.append((str(count), f"{len(every) - _MOST_REASONS} other reasons", ""))
    return _section("Left out", _table(("count", "reason", "first tasks"), rows))


def _run(record: RunRecord, report: FinetuneReport) -> str:
    ended = datetime.fromtimestamp(record.ended_at, timezone.utc)
    return _section(
        "The run",
        _facts(
            {
                "ended": f"{ended:%Y-%m-%d %H:%M:%S} UTC",
                "command": report.command,
                "run": record.run,
                "parent": record.parent,
                "version": record.version or "none",
                "fingerprint of the samples": report.collected.fingerprint,
            }
        ),
    )


def _recipe(report: FinetuneReport) -> str:
    return _section("Recipe", _facts(_flat(report.recipe)))


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in facts.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _giou(before: float, after: float) -> tuple[str, str, str]:
    return f"{before:.3f}", f"{after:.3f}", _change(after - before)


def _change(difference: float) -> str:
    shown = f"{difference:+.3f}"
    kind = "better" if difference > 0 else "worse" if difference < 0 else "same"
    return f'<span class="{kind}">{shown}</span>'


def _interval(compared: Comparison) -> str:
    return f"{compared.low:+.3f} and {compared.high:+.3f}"


def _figure_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] | None = None
) -> str:
    return _table(heads, rows, total, kind=' class="figures"')


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    kind: str = "",
) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    foot = "" if total is None else f"<tfoot>{_row(total)}</tfoot>"
    body = "".join(map(_row, rows))
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
