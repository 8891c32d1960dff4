"""Comparison, short-context guard, page, figures: numbers by hand, and files that are what they say."""

import base64
import dataclasses
import re

import pytest

from lsw_hf.evaluation import (
    EvaluationResults,
    NeedleGrid,
    NeedleReport,
    NeedleSample,
    PositionLossReport,
    ShortContextMeasure,
    TaskReport,
    compare_needle,
    compare_short_context,
    measure_short_context,
    write_page,
)
from lsw_hf.evaluation.figures import format_length, new_figure
from lsw_hf.evaluation.losses.by_position import PositionBucket
from lsw_hf.evaluation.needle.heat_map import plot_needle, plot_needle_pair
from lsw_hf.evaluation.summary.curves import plot_length_curves, plot_position_loss
from lsw_hf.evaluation.tasks.report import TaskOutcome


def report(verdicts, window=512, **grid):
    """`verdicts[length][depth]` is a list of right or wrong."""
    samples = [
        NeedleSample(length, depth, depth, i, f"Recall <name{i}>", f"right{i}", f"right{i}" if ok else "<wrong>", ok)
        for length, cells in verdicts.items()
        for depth, oks in cells.items()
        for i, ok in enumerate(oks)
    ]
    fields = {"context_lengths": list(verdicts), "seed": 0, **grid}
    settings = {"max_position_embeddings": window, "questions_per_haystack": {"512": 1}, "chance": 0.0, "task": "t"}
    return NeedleReport(fields, tuple(samples), settings)


BEFORE = report({512: {0.0: [1, 1], 1.0: [1, 1]}, 1024: {0.0: [0, 0], 1.0: [1, 0]}})
AFTER = report({512: {0.0: [1, 1], 1.0: [1, 0]}, 1024: {0.0: [1, 0], 1.0: [1, 1]}}, window=1024)
LOSS = PositionLossReport(
    8, None, 2, (PositionBucket(0, 4, 6, 3.0, 0.1), PositionBucket(4, 8, 8, 2.0, float("nan"))), {}
)


def test_cells_and_accuracy():
    assert BEFORE.accuracy == (1 + 1 + 0 + 0.5) / 4
    assert [cell.accuracy for cell in AFTER.cells] == [1.0, 0.5, 0.5, 1.0]
    assert BEFORE.accuracy_at(1024) == 0.25
    with pytest.raises(ValueError, match=r"no samples of 99 tokens; the report has \[512, 1024\]"):
        BEFORE.accuracy_at(99)


def test_comparison_pairs_questions():
    comparison = compare_needle(BEFORE, AFTER)
    assert (comparison.gained, comparison.lost) == (2, 1)
    rows = comparison.to_markdown().splitlines()
    assert rows[2].startswith("| 512 | 100.0 [51.0, 100.0] | 75.0 [")
    assert rows[3].endswith("| +50.0 | 2 | 0 |")


def test_different_tests_are_not_compared():
    with pytest.raises(ValueError, match="different grids: seed: 0 and 1"):
        compare_needle(BEFORE, report({512: {0.0: [1]}, 1024: {0.0: [1]}}, seed=1))
    other = dataclasses.replace(AFTER.samples[0], question="Recall another")
    changed = dataclasses.replace(AFTER, samples=(other, *AFTER.samples[1:]))
    with pytest.raises(ValueError, match="asked different questions on the same grid"):
        compare_needle(BEFORE, changed)


def test_newcombe_interval_against_the_published_example():
    """Newcombe (1998), table II, case (a): 56/70 against 48/80 gives 0.0524 to 0.3339."""

    def measure(correct, samples):
        return ShortContextMeasure(512, report({512: {0.5: [1] * correct + [0] * (samples - correct)}}))

    found = compare_short_context(measure(48, 80), measure(56, 70))
    assert found.change == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=2e-4)


def test_guard_says_what_was_paid():
    cheap = compare_short_context(ShortContextMeasure(512, BEFORE, LOSS), ShortContextMeasure(512, BEFORE, LOSS))
    assert not cheap.worse
    assert "Retrieval did not get worse at 512 and 1,024 tokens, by a tolerance of 1 points." in cheap.to_markdown()
    worse = dataclasses.replace(BEFORE, samples=AFTER.samples[:4] + BEFORE.samples[4:])
    dear = compare_short_context(ShortContextMeasure(512, BEFORE), ShortContextMeasure(512, worse))
    assert dear.worse
    assert dear.loss_change is None
    assert not compare_short_context(
        ShortContextMeasure(512, BEFORE), ShortContextMeasure(512, worse), tolerance=0.2
    ).worse
    with pytest.raises(ValueError, match="different grids: window 512 and 256"):
        compare_short_context(ShortContextMeasure(512, BEFORE), ShortContextMeasure(256, BEFORE))


def test_guard_measures_half_and_whole_window(lookup_model, words, word_task):
    grid = NeedleGrid((999,), depths=(0.5,), num_samples=2)
    found = measure_short_context(lookup_model, words, window=128, grid=grid, task=word_task, progress=False)
    assert found.needle.grid["context_lengths"] == [64, 128]
    assert found.needle.accuracy == 1.0
    assert found.loss is None
    with pytest.raises(ValueError, match="at least 2 tokens; got 1"):
        measure_short_context(lookup_model, words, window=1)


def test_results_survive_saving(tmp_path):
    results = EvaluationResults(needle=AFTER, loss=LOSS, short_context=ShortContextMeasure(512, BEFORE, LOSS))
    results.save(tmp_path)
    assert EvaluationResults.load(tmp_path).to_dict() == results.to_dict()
    assert results.short_context.to_markdown() == f"{BEFORE.to_markdown()}\n\n{LOSS.to_markdown()}"
    assert not (tmp_path / "tasks.json").exists()
    with pytest.raises(ValueError, match="contains no evaluation"):
        EvaluationResults.load(tmp_path / "elsewhere")


def test_page_is_self_contained_and_readable(tmp_path):
    before = EvaluationResults(BEFORE, short_context=ShortContextMeasure(512, BEFORE))
    after = EvaluationResults(AFTER, loss=LOSS, short_context=ShortContextMeasure(512, AFTER))
    with pytest.raises(ValueError, match="different grids"):
        write_page(
            tmp_path / "index.html", after,
            dataclasses.replace(before, short_context=ShortContextMeasure(256, BEFORE)),
        )  # fmt: skip
    write_page(tmp_path / "index.html", after, before, title="A & B")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    assert "At 1,024 tokens the model finds <b>75.0 %</b> of the hidden facts (before: 25.0 %)." in page
    assert "In the original window of 512 tokens 12.5 points were gained: 75.0 % (before: 62.5 %)." in page
    assert "Recall &lt;name1&gt;" in page
    assert '<td class="text">&lt;wrong&gt;</td>' in page
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,)", page)
    images = re.findall(r"base64,([^\"]+)\"", page)
    assert len(images) == 3
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)


def test_page_names_and_escapes_both_models(tmp_path):
    labels = ("<b>old</b>", "new")
    short = [ShortContextMeasure(512, source) for source in (BEFORE, AFTER)]
    before = EvaluationResults(BEFORE, short_context=short[0], loss=LOSS)
    after = EvaluationResults(AFTER, short_context=short[1], loss=LOSS)
    write_page(tmp_path / "index.html", after, before, labels=labels)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>old</b>" not in page
    assert "<th>length</th><th>&lt;b&gt;old&lt;/b&gt;</th><th>new</th>" in page
    assert "<th>in the original window</th><th>&lt;b&gt;old&lt;/b&gt;</th><th>new</th>" in page


def test_page_shows_wrong_answers_of_tasks(tmp_path):
    outcomes = (
        TaskOutcome("two <keys>", 600, 580, "Question: which?", ("a", "b"), "only a", 0.5, {"depths": [0.25, 0.5]}),
        TaskOutcome("two <keys>", 300, 280, "Question: who?", ("c",), "c", 1.0),
    )
    tasks = TaskReport({"context_lengths": [300, 600], "tasks": ["two <keys>"]}, outcomes)
    write_page(tmp_path / "tasks.html", EvaluationResults(tasks=tasks))
    page = (tmp_path / "tasks.html").read_text(encoding="utf-8")
    assert "<td>two &lt;keys&gt;</td><td>600</td><td>0.25 0.50</td>" in page
    assert '<td class="text">a, b</td><td class="text">only a</td>' in page
    assert "Question: who?" not in page


def test_short_tasks_are_part_of_the_price(tmp_path):
    def families(score, tasks=("x",)):
        suite = {"context_lengths": [256, 512], "tasks": list(tasks)}
        found = [TaskOutcome("x", length, length, "?", ("a",), "b", score) for length in suite["context_lengths"]]
        return TaskReport(suite, tuple(found))

    before, after = (ShortContextMeasure(512, BEFORE, tasks=families(score)) for score in (1.0, 0.5))
    assert "| task families (%) | 100.0 | 50.0 | -50.0 |" in compare_short_context(before, after).to_markdown()
    before.save(tmp_path / "short.json")
    assert ShortContextMeasure.load(tmp_path / "short.json") == before
    with pytest.raises(ValueError, match="different task suites"):
        compare_short_context(before, dataclasses.replace(after, tasks=families(0.5, ("y",))))


def test_page_of_one_model(tmp_path):
    perfect = report({512: {0.0: [1, 1]}})
    write_page(tmp_path / "one.html", EvaluationResults(perfect))
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "At 512 tokens the model finds <b>100.0 %</b> of the hidden facts." in page
    assert "<h2>Wrong answers about hidden facts</h2><p>None.</p>" in page
    with pytest.raises(ValueError, match="nothing to show"):
        write_page(tmp_path / "none.html", EvaluationResults())


def test_figures_are_written_whole(tmp_path):
    plot_needle(BEFORE, tmp_path / "one.png", title="x")
    plot_needle_pair(BEFORE, AFTER, tmp_path / "pair.svg", title="y", labels=("a", "b"))
    plot_length_curves({"a": BEFORE, "b": AFTER}, tmp_path / "curve.png")
    plot_position_loss({"a": LOSS}, tmp_path / "loss.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "loss.png", "one.png", "pair.svg"]
    drawing = (tmp_path / "pair.svg").read_text()
    assert drawing.startswith("<?xml")


def test_pair_shares_one_scale_and_prints_every_cell():
    from lsw_hf.evaluation.needle.heat_map import _draw_panel

    _, left, right = new_figure(6, 3, panels=2)
    images = [_draw_panel(panel, source, "") for panel, source in ((left, BEFORE), (right, AFTER))]
    assert {image.get_clim() for image in images} == {(0.0, 100.0)}
    assert [text.get_text() for text in left.texts] == ["100", "0", "100", "50"]  # rows are depths, the first on top
    assert [text.get_text() for text in right.texts] == ["100", "50", "50", "100"]
    assert left.yaxis_inverted()
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["512", "1K"]


def test_percent_never_rounds_up_to_all():
    from lsw_hf.evaluation.needle.heat_map import _percent

    assert [_percent(x) for x in (100.0, 99.96, 99.4, 87.4, 0.3, 0.0)] == ["100", "99.9", "99.4", "87", "0.3", "0"]


def test_lengths_are_written_short():
    assert [format_length(x) for x in (512, 1024, 131072, 200_000, 3000, 1500)] == [
        "512",
        "1K",
        "128K",
        "200k",
        "3k",
        "1,500",
    ]


def test_pictures_show_one_to_four_reports(tmp_path):
    with pytest.raises(ValueError, match="1 to 4 reports; got 0"):
        plot_length_curves({}, tmp_path / "x.png")
    with pytest.raises(ValueError, match="1 to 4 reports; got 5"):
        plot_position_loss(dict.fromkeys("abcde", LOSS), tmp_path / "x.png")


def test_foreign_files_are_refused():
    with pytest.raises(ValueError, match="not a needle report of schema version 1: kind 'tasks'"):
        NeedleReport.from_dict({"kind": "tasks", "schema_version": 1})
    with pytest.raises(ValueError, match="not a loss-by-position report"):
        PositionLossReport.from_dict({"kind": "tasks", "schema_version": 1})
    with pytest.raises(ValueError, match="not a short-context measure"):
        ShortContextMeasure.from_dict({"kind": "tasks", "schema_version": 1})
