import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from backend.finetune_report import FinetuneReport, by_label, report_html
from backend.gate import Comparison
from backend.report_pictures import Pictures
from backend.report_policy import policy_of_report
from backend.report_store import RunRecord
from backend.training_samples import CollectedSamples, LeftOut
from tests.held_out_results import held_out

EVIL = "</style><script>alert('x')</script>\"&"
ESCAPED = "&lt;/style&gt;&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;"
RESULTS = [
    held_out(0.2, 0.6, photo="1.jpg"),
    held_out(0.4, 0.6, photo="2.jpg"),
    held_out(0.9, 0.3, photo="2.jpg", label="Dog"),
    held_out(0.5, 0.5, photo="3.jpg", label=""),
    held_out(0.6, 0.9, photo="3.jpg"),
]
REPORT = FinetuneReport(
    command="python -m backend.finetune --project 3",
    collected=CollectedSamples((), {"it was skipped": LeftOut(7, (3, 4))}, 12, "the latest counts"),
    left_out={"its image is gone": LeftOut(1, (9,))},
    split={"to learn": (40, 20), "held out": (5, 3)},
    recipe={"adapter": {"rank": 16}, "steps": 400},
    history=[{"step": 0, "eval_loss": 1.5}, {"step": 10, "loss": 1.0}],
    held_out=Comparison(3, 5, 0.52, 0.58, -0.1234, 0.2345, 0.4, 0.5),
    general=Comparison(8, 96, 0.9, 0.85, -0.06, -0.04),
    measure="agreement",
    margin=0.02,
    kept_share=0.75,
    results=RESULTS,
    improved=[Pictures(RESULTS[0], b"before", b"after", b"truth")],
    worsened=[],
)
REFUSED = RunRecord("0123456789abcdef", "demo-1", 0.0, reasons=("It is worse.",))


class Text(HTMLParser):
    """The cells of a page's tables, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def test_figures_by_label() -> None:
    cat, none, dog = by_label(RESULTS)
    assert (cat.label, cat.samples, cat.photos) == ("Cat", 3, 3)
    assert (cat.giou_before, cat.giou_after) == pytest.approx((0.4, 0.7))
    assert (none.label, none.samples, none.photos) == ("", 1, 1)
    assert (dog.label, dog.giou_before, dog.giou_after) == ("Dog", 0.9, 0.3)


def test_the_table_by_label_ends_with_the_total_and_its_interval() -> None:
    rows = Text(report_html(REFUSED, REPORT)).rows
    start = next(at for at, row in enumerate(rows) if row[0] == "label")
    assert rows[start + 1 : start + 5] == [
        ["Cat", "3", "3", "0.400", "0.700", "+0.300", ""],
        ["(none)", "1", "1", "0.500", "0.500", "+0.000", ""],
        ["Dog", "1", "1", "0.900", "0.300", "-0.600", ""],
        ["all", "5", "3", "0.520", "0.580", "+0.060", "-0.123 and +0.234"],
    ]


def test_of_many_labels_the_rare_ones_are_counted_together() -> None:
    results = [held_out(0.5, 0.75, label=f"L{number:03}") for number in range(230)]
    page = report_html(REFUSED, replace(REPORT, results=results))
    assert "L199" in page
    assert "L200" not in page
    assert ["30 other labels", "30", "1", "0.500", "0.750", "+0.250", ""] in Text(page).rows


def test_of_many_reasons_the_rest_is_counted_together() -> None:
    left_out = {f"reason {number}": LeftOut(2, ()) for number in range(120)}
    rows = Text(report_html(REFUSED, replace(REPORT, left_out=left_out))).rows
    assert ["42", "21 other reasons", ""] in rows


def test_what_was_decided_is_said_first() -> None:
    published = replace(REFUSED, version="demo-1+20260101-1")
    for record, said in (
        (REFUSED, "Not published: demo-1 goes on being served."),
        (published, "Published by force as demo-1+20260101-1."),
        (replace(published, reasons=()), "Passed, and published as demo-1+20260101-1."),
    ):
        page = report_html(record, REPORT)
        assert said in page
        assert ("<li>It is worse.</li>" in page) == bool(record.reasons)


def test_counts_recipe_command_and_origin_are_there() -> None:
    rows = Text(report_html(REFUSED, REPORT)).rows
    for row in (
        [
            "held-out photos",
            "5",
            "3",
            "0.520",
            "0.580",
            "+0.060",
            "-0.123 and +0.234",
            "0.400 → 0.500",
        ],
        ["not taught", "96", "8", "0.900", "0.850", "-0.050", "-0.060 and -0.040", "-"],
        ["to learn", "40", "20"],
        ["7", "it was skipped", "3, 4"],
        ["1", "its image is gone", "9"],
        ["command", "python -m backend.finetune --project 3"],
        ["parent", "demo-1"],
        ["version", "none"],
        ["of the change kept", "75%"],
        ["fingerprint of the samples", REPORT.collected.fingerprint],
        ["ended", "1970-01-01 00:00:00 UTC"],
        ["adapter.rank", "16"],
        ["steps", "400"],
    ):
        assert row in rows


def test_pictures_lie_in_the_file_side_by_side() -> None:
    page = report_html(REFUSED, REPORT)
    assert re.findall(r'<img alt="(\w+)" src="data:image/jpeg;base64,(\w+=*)">', page) == [
        ("before", "YmVmb3Jl"),
        ("after", "YWZ0ZXI="),
        ("truth", "dHJ1dGg="),
    ]
    assert "No held-out photo became worse." in page


def test_whatever_comes_from_others_is_escaped() -> None:
    result = held_out(0.1, 0.9, prompt=EVIL, label=EVIL)
    pictures = [Pictures(result, b"", b"", b"")]
    left_out = {EVIL: LeftOut(1, ())}
    page = report_html(
        RunRecord("0123456789abcdef", EVIL, 0.0, EVIL, (EVIL,)),
        replace(
            REPORT,
            command=EVIL,
            collected=CollectedSamples((), left_out, 1, EVIL),
            left_out=left_out,
            recipe={EVIL: EVIL},
            results=[result],
            improved=pictures,
            worsened=pictures,
        ),
    )
    assert "<script" not in page
    assert "alert('x')" not in page
    assert page.count("</style>") == 1
    # The label thrice; version, prompt, what was left out, and the recipe's two sides twice each;
    # reason, rule, command and parent once.
    assert page.count(ESCAPED) == 3 + 4 * 2 + 4


def test_half_a_character_in_a_label_does_not_stop_the_report() -> None:
    page = report_html(REFUSED, replace(REPORT, results=[held_out(0, 1, label="a\ud800b")]))
    assert "a?b" in page.encode().decode()


def test_the_policy_in_the_file_and_of_the_server_allow_its_style_only() -> None:
    page = report_html(REFUSED, REPORT)
    (inside,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    served = policy_of_report(page)
    assert served == f"{inside.replace('&#x27;', chr(39))}; frame-ancestors 'none'"
    assert "default-src 'none'; style-src 'sha256-" in served
    assert "unsafe" not in served
    assert " style=" not in page
    other = page.replace("<style>", "<style>/* of an earlier release */")
    assert policy_of_report(other) != served
    assert "style-src 'none'" in policy_of_report("<p>no style</p>")
