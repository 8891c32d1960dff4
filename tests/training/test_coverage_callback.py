"""Coverage during training: what is written, taken up after a resume, warned of and drawn."""

import json

import pytest
import torch

from lsw_hf.context.extension import extend_context
from lsw_hf.data.positions.collator import DataCollatorForSkipAlign
from lsw_hf.data.positions.coverage import CoverageBand, CoverageInterval, position_coverage
from lsw_hf.data.positions.coverage_plot import plot_position_coverage
from lsw_hf.training.coverage_callback import PositionCoverageCallback
from lsw_hf.training.skip_align import SkipAlignConfig, SkipAlignTrainer

CONTEXT = 512
UNSEEN = pytest.mark.filterwarnings("ignore:After .* no trained token was:UserWarning")


def make_trainer(model, tokenizer, rows, arguments, **options) -> SkipAlignTrainer:
    extend_context(model, context_length=CONTEXT)
    options = {"max_steps": 7, "skip_probability": 1.0, "max_length": 64, **options}
    return SkipAlignTrainer(
        model, arguments(SkipAlignConfig, **options), train_dataset=rows, processing_class=tokenizer
    )


@UNSEEN
def test_records_are_those_of_the_batches_also_over_a_resume(tiny_llama, tiny_tokenizer, rows, arguments, tmp_path):
    """Six rows in batches of two: seven steps are two whole passes and a third of the next."""
    import copy

    options = {"save_strategy": "steps", "save_steps": 5}
    trainer = make_trainer(copy.deepcopy(tiny_llama), tiny_tokenizer, rows, arguments, **options)
    coverage = PositionCoverageCallback(trainer, every_steps=3, num_bands=8)
    trainer.add_callback(coverage)
    trainer.train()
    assert [(one.first_step, one.last_step) for one in coverage.intervals] == [(1, 3), (4, 5), (6, 6), (7, 7)]
    assert "training_step" not in vars(trainer)

    def batches():
        collator = DataCollatorForSkipAlign(0, CONTEXT, skip_probability=1.0, seed=trainer.args.seed)
        for epoch in range(2):
            collator.set_epoch(epoch)
            yield collator(list(rows))

    expected = position_coverage(batches(), context_length=CONTEXT).bands(8)
    two_passes = zip(*(interval.bands for interval in coverage.intervals[:3]), strict=True)
    assert [sum(band.pairs for band in own) for own in two_passes] == [band.pairs for band in expected]

    file = tmp_path / "run" / "position_coverage.json"
    written = json.loads(file.read_text())
    assert [CoverageInterval.from_dict(one) for one in written["intervals"]] == coverage.intervals

    again = make_trainer(tiny_llama, tiny_tokenizer, rows, arguments, **options)
    resumed = PositionCoverageCallback(again, every_steps=3, num_bands=8)
    again.add_callback(resumed)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-5"))
    assert resumed.intervals == coverage.intervals
    assert resumed.total() == coverage.total()


def test_warns_of_bands_that_the_run_never_trains(tiny_llama, tiny_tokenizer, rows, arguments):
    trainer = make_trainer(tiny_llama, tiny_tokenizer, rows, arguments, strategy="none", max_steps=1)
    trainer.add_callback(PositionCoverageCallback(trainer, num_bands=4))
    with pytest.warns(UserWarning, match=r"After 1 steps no trained token was 128-511 positions after"):
        trainer.train()


def interval(first: int, last: int, pairs: list[int]) -> CoverageInterval:
    return CoverageInterval(first, last, tuple(CoverageBand(1 + 8 * i, 9 + 8 * i, n) for i, n in enumerate(pairs)))


@pytest.mark.parametrize(
    ("pairs", "panels", "words"),
    [
        ([[5, 0, 2]], 1, "1 of 3 bands never trained (hatched), 10 steps"),
        ([[5, 0, 2], [1, 9, 0]], 2, "every band trained, 20 steps"),
        ([[0, 0, 0], [0, 0, 0]], 2, "3 of 3 bands never trained (hatched), 20 steps"),
    ],
)
def test_the_picture_says_what_was_never_trained(tmp_path, monkeypatch, pairs, panels, words):
    figures = []
    figure_class = pytest.importorskip("matplotlib.figure").Figure
    save = figure_class.savefig
    monkeypatch.setattr(
        figure_class, "savefig", lambda self, *args, **options: figures.append(self) or save(self, *args, **options)
    )
    intervals = [interval(10 * index + 1, 10 * index + 10, own) for index, own in enumerate(pairs)]
    plot_position_coverage(intervals, tmp_path / "coverage.png", title="Run")
    assert (tmp_path / "coverage.png").stat().st_size > 10_000
    drawn = [axes for axes in figures[0].axes if axes.get_ylabel() != "trained pairs a step" or axes.patches]
    assert figures[0].axes[0].get_title() == words
    assert len(drawn) >= panels - 1
    assert len(figures[0].axes) == (1 if panels == 1 else 3)  # the third is the scale of colors


def test_bad_arguments_are_named(tiny_llama, tiny_tokenizer, rows, arguments, tmp_path):
    trainer = make_trainer(tiny_llama, tiny_tokenizer, rows, arguments)
    with pytest.raises(ValueError, match="every_steps must be at least 1, got 0"):
        PositionCoverageCallback(trainer, every_steps=0)
    with pytest.raises(ValueError, match=r"num_bands must lie in \[1, 511\], got 512"):
        PositionCoverageCallback(trainer, num_bands=512)
    trainer.data_collator = torch.utils.data.default_collate
    with pytest.raises(ValueError, match="collator has no context_length; pass context_length="):
        PositionCoverageCallback(trainer)
    with pytest.raises(ValueError, match="got 0 intervals with 0 kinds of bands"):
        plot_position_coverage([], tmp_path / "none.png")
    with pytest.raises(ValueError, match="got 2 intervals with 2 kinds of bands"):
        plot_position_coverage([interval(1, 2, [3]), interval(3, 4, [3, 4])], tmp_path / "none.png")
