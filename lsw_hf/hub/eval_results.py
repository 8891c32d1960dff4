"""Evaluation results in the two forms that the Hub reads."""

from huggingface_hub import EvalResult, EvalResultEntry

from ..evaluation.summary.results import EvaluationResults


def model_index_results(results: EvaluationResults) -> list[EvalResult]:
    """Results for the `model-index` of a model card, one a length: needle accuracy and the average of the task
    families.

    Args:
        results ([`EvaluationResults`]):
            What was measured; reports that are missing give no entries.

    Returns:
        `list[huggingface_hub.EvalResult]`: For [`~huggingface_hub.ModelCardData`]`(eval_results=...)`; values in
        percent.
    """
    return [
        EvalResult(
            task_type="text-generation",
            task_name=f"Long context, {length:,} tokens",
            dataset_type=f"lsw-{kind}-{name}".replace(" ", "-"),
            dataset_name=f"{title} ({name})",
            dataset_config=str(length),
            metric_type="accuracy",
            metric_name="accuracy (%)",
            metric_value=round(value, 2),
        )
        for kind, title, name, length, value in _values(results)
    ]


def eval_result_entries(
    results: EvaluationResults, dataset_id: str, *, date: str | None = None, source_url: str | None = None
) -> list[EvalResultEntry]:
    """Results for the `.eval_results/*.yaml` files of a model repository.

    Args:
        results ([`EvaluationResults`]):
            What was measured.
        dataset_id (`str`):
            Benchmark dataset on the Hub that the results belong to, as in `"me/long-needle"`.
        date (`str`, *optional*):
            When it was measured, ISO 8601; the Hub takes the commit's time otherwise.
        source_url (`str`, *optional*):
            Where the whole report can be read.

    Returns:
        `list[huggingface_hub.EvalResultEntry]`: One a length, in percent; `task_id` is `needle_8192` or `tasks_8192`.

    Raises:
        ValueError: if `dataset_id` is no Hub id of the form `owner/name`.
    """
    if dataset_id.count("/") != 1 or not all(dataset_id.split("/")):
        raise ValueError(f"dataset_id must be a Hub id of the form owner/name; got {dataset_id!r}")
    return [
        EvalResultEntry(
            dataset_id=dataset_id,
            task_id=f"{kind}_{length}",
            value=round(value, 2),
            date=date,
            source_url=source_url,
            notes=f"{title} ({name}), {length:,} tokens",
        )
        for kind, title, name, length, value in _values(results)
    ]


def _values(results: EvaluationResults) -> list[tuple[str, str, str, int, float]]:
    """Kind, title, name, length and percent of every number."""
    found: list[tuple[str, str, str, int, float]] = []
    if results.needle is not None:
        name = str(results.needle.settings.get("task"))
        for length in results.needle.grid["context_lengths"]:
            value = 100 * results.needle.accuracy_at(length)
            found.append(("needle", "Needle retrieval", name, length, value))
    if results.tasks is not None:
        for length in results.tasks.suite["context_lengths"]:
            found.append(("tasks", "Long-context task families", "average", length, results.tasks.average(length)))
    return found
