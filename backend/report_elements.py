"""What a report of a fine-tuning is put together from: the document, sections, tables, figures.

Arguments are plain text, which is escaped here, but for `content`, `body` and the cells of tables,
which are HTML already.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from backend.gate import Comparison
from backend.report_policy import policy_of_style

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


def document(title: str, body: str) -> str:
    """A whole file. It has no script; its Content-Security-Policy stands in it."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy_of_style(_STYLE))}">'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><title>{escape(title)}</title></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def section(title: str, content: str) -> str:
    """A heading and what stands under it."""
    return f"<h2>{escape(title)}</h2>{content}"


def fact_table(facts: Mapping[str, str]) -> str:
    """Names and values."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in facts.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def giou_cells(before: float, after: float) -> tuple[str, str, str]:
    """Before, after, and the change."""
    return f"{before:.3f}", f"{after:.3f}", change(after - before)


def change(difference: float) -> str:
    """A difference of gIoU in the color of better or worse."""
    shown = f"{difference:+.3f}"
    kind = "better" if difference > 0 else "worse" if difference < 0 else "same"
    return f'<span class="{kind}">{shown}</span>'


def interval(compared: Comparison) -> str:
    """The bounds of the difference."""
    return f"{compared.low:+.3f} and {compared.high:+.3f}"


def figure_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] | None = None
) -> str:
    """A table whose cells are numbers, but for the first of each row."""
    return table(heads, rows, total, kind=' class="figures"')


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    kind: str = "",
) -> str:
    """A table; `total` is its last row, `kind` an attribute of it."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    foot = "" if total is None else f"<tfoot>{_row(total)}</tfoot>"
    body = "".join(map(_row, rows))
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
