"""Results as the Hub reads them: through its own writers and readers."""

import pytest
from huggingface_hub import ModelCard, ModelCardData, eval_result_entries_to_yaml, parse_eval_result_entries

from lsw_hf.evaluation import EvaluationResults, NeedleReport, NeedleSample, TaskReport
from lsw_hf.evaluation.tasks.report import TaskOutcome
from lsw_hf.hub.eval_results import eval_result_entries, model_index_results

SAMPLES = tuple(NeedleSample(length, 0.5, 0.5, i, "q", "a", "a", i < right)
                for length, right in ((512, 3), (1024, 1)) for i in range(3))  # fmt: skip
NEEDLE = NeedleReport({"context_lengths": [512, 1024]}, SAMPLES, {"task": "number-en"})
TASKS = TaskReport(
    {"context_lengths": [4096], "tasks": ["x"]}, (TaskOutcome("x", 4096, 4000, "q", ("a",), "a", 0.75),)
)


def test_model_index_survives_a_card():
    found = model_index_results(EvaluationResults(NEEDLE, TASKS))
    assert [(entry.dataset_config, entry.metric_value) for entry in found] == [
        ("512", 100.0), ("1024", 33.33), ("4096", 75.0),
    ]  # fmt: skip
    data = ModelCardData(model_name="m", eval_results=found)
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n# m")
    assert [(e.dataset_type, e.dataset_config, e.metric_value) for e in card.data.eval_results] == [
        (e.dataset_type, e.dataset_config, e.metric_value) for e in found
    ]


def test_dataset_types_are_names_without_spaces():
    report = NeedleReport({"context_lengths": [512, 1024]}, SAMPLES, {"task": "tiny world"})
    found = model_index_results(EvaluationResults(report))
    assert {(entry.dataset_type, entry.dataset_name) for entry in found} == {
        ("lsw-needle-tiny-world", "Needle retrieval (tiny world)")
    }


def test_eval_result_files_survive_the_hubs_own_parser():
    found = eval_result_entries(EvaluationResults(NEEDLE), "me/long-needle", date="2025-01-15")
    again = parse_eval_result_entries(eval_result_entries_to_yaml(found))
    assert [(entry.task_id, entry.value, entry.date) for entry in again] == [
        ("needle_512", 100.0, "2025-01-15"), ("needle_1024", 33.33, "2025-01-15"),
    ]  # fmt: skip


def test_nothing_measured_gives_nothing_and_bad_ids_are_refused():
    assert model_index_results(EvaluationResults()) == []
    with pytest.raises(ValueError, match="of the form owner/name; got 'needle'"):
        eval_result_entries(EvaluationResults(NEEDLE), "needle")
