# ruff: noqa: D103 - the names say what is tested
"""The arithmetic and the looks of the report."""

import json
from xml.etree import ElementTree

import pytest

from benchmarks.coverage import Coverage, coverage_table, plot, reasons_table
from benchmarks.report import (
    Figure,
    Goal,
    Ratio,
    Section,
    as_json,
    cells,
    headings,
    markdown,
    number,
    ratio,
    remarks,
)

OURS = Figure("ours", (10.0, 11.0, 30.0), ratios=(Ratio("over C", 1.25, Goal(1.4)),))
SLOW = Figure("slow", (40.0, 44.0, 48.0), ratios=(Ratio("over C", 4.4, Goal(1.4)),))
ABSENT = Figure("absent", note="not measured: install it")
SECTION = Section("Hits", "what was measured", [OURS, SLOW, ABSENT])


def test_rounds_are_compared_one_by_one():
    # The third round was disturbed for both: the ratio does not see it.
    assert ratio((10, 12, 100), (5, 6, 50)) == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.50"), (9.87, "9.87"), (45.67, "45.7"), (1234.5, "1,234")]
)
def test_figures_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [(Goal(1.4), 1.4, True), (Goal(1.4), 1.41, False), (Goal(4, at_most=False), 4.2, True)],
)
def test_a_goal_is_met_on_its_side_of_the_limit(goal, value, met):
    assert Ratio("x", value, goal).met is met


def test_a_goal_stands_in_the_heading_and_its_mark_in_the_cell():
    assert headings(SECTION) == ["", "median", "quarters", "over C (≤ 1.4)"]
    assert cells(SECTION, OURS) == ["ours", "11.0 µs", "10.0 … 30.0", "1.25 ✓"]
    assert cells(SECTION, SLOW)[3] == "4.40 ✗"


def test_goals_that_differ_stand_in_the_cells():
    slow = Figure("slow", (9.0,), ratios=(Ratio("over ours", 9.0, Goal(4, at_most=False)),))
    slower = Figure("slower", (99.0,), ratios=(Ratio("over ours", 99.0, Goal(100, at_most=False)),))
    section = Section("Events", "what was measured", [slow, slower])
    assert headings(section)[3:] == ["over ours"]
    assert cells(section, slow)[3:] == ["9.00 ✓ ≥ 4"]
    assert cells(section, slower)[3:] == ["99.0 ✗ ≥ 100"]


def test_what_could_not_be_measured_is_said():
    assert cells(SECTION, ABSENT) == ["absent", "-", "-", ""]
    assert remarks(SECTION) == ["absent: not measured: install it"]
    assert "- absent: not measured: install it" in markdown([SECTION])


def test_the_json_has_every_round_and_what_was_met():
    [section] = json.loads(as_json([SECTION]))["sections"]
    assert [figure["median"] for figure in section["figures"]] == [11.0, 44.0, None]
    assert [r["met"] for figure in section["figures"] for r in figure["ratios"]] == [True, False]


def test_the_plot_has_a_bar_for_each_kind_and_they_fill_the_line():
    measured = Coverage("a <file>: entries", (6, 0, 1, 3, 0, 0))
    drawn = ElementTree.fromstring(plot([measured]))
    bars = [bar for bar in drawn if bar.tag.endswith("rect") and len(bar)]
    assert [bar[0].text for bar in bars] == [
        "jump: 60.00 %", "punned jump: 10.00 %", "trap: 30.00 %",
    ]  # fmt: skip
    ends = [float(bar.get("x")) + float(bar.get("width")) for bar in bars]
    assert ends[:-1] == [float(bar.get("x")) for bar in bars[1:]]
    assert drawn[0].text == "a <file>: entries"


def test_entries_have_a_goal_and_instructions_none():
    section = coverage_table(
        [
            Coverage("x: function entries", (99, 0, 0, 1, 0, 0)),
            Coverage("x: instructions", (1,) * 6),
        ]
    )
    assert [figure.ratios[0].met for figure in section.figures] == [True, None]


def test_reasons_are_shares_of_all_places():
    reasons = (("entered-inside", 30), ("no-room", 10))
    section = reasons_table([Coverage("x: instructions", (160, 20, 10, 10, 0, 0), reasons)])
    (figure,) = section.figures
    assert figure.rounds == (40.0,)
    assert {ratio.to: ratio.value for ratio in figure.ratios} == {
        "entered-inside": 15.0,
        "no-room": 5.0,
    }
