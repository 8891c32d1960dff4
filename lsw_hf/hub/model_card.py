"""A model card from plain facts: offline, and open about what is missing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..reports import markdown_table
from .card_tables import (
    NOT_REPORTED,
    accuracy_by_length,
    cell,
    needle_grid,
    needle_table,
    percent,
    rope_table,
    stages_table,
)
from .rope_facts import RopeFacts, reader_notes, rope_facts
from .serving import serving_lines

TEMPLATE = Path(__file__).with_name("model_card_template.md")
METADATA_FIELDS = (
    "base_model_relation",
    "datasets",
    "language",
    "license",
    "license_link",
    "license_name",
    "model_name",
    "tags",
)
PLACEHOLDER = "PATH_OR_ID"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
# The form of the Hub's access tokens.
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")
_PAPERS = {
    "continual_pretraining": "[LongSkywork](https://arxiv.org/abs/2406.00605)",
    "long_sft": "[LongSkywork](https://arxiv.org/abs/2406.00605)",
    "sft": "[SkipAlign](https://arxiv.org/abs/2405.03939)",
}


def build_model_card(
    config: Any,
    *,
    report: Mapping[str, Any] | None = None,
    report_before: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    base_model: str | None = None,
    repo_id: str | None = None,
    figure: str | None = "needle.png",
    **metadata: Any,
) -> ModelCard:
    """Build the card of a model with an extended context window.

    Nothing is looked up and nothing is guessed: what is not given is "not reported" in the card.

    Args:
        config (`PreTrainedConfig`):
            the model's config; the RoPE table, the window and the serving lines come from it.
        report (`dict`, *optional*):
            the needle report of the model, as `NeedleReport.to_dict()` returns it: at least
            `cells`, each with `context_length`, `depth`, `samples`, `correct`, `accuracy`.
        report_before (`dict`, *optional*):
            the same of the model before the extension.
        training (`dict`, *optional*):
            what a recipe reports: `stages` (each with any of `stage`, `data`, `max_length`,
            `steps`, `tokens`, `learning_rate`, `final_loss`, `seconds`, `source`), and any of `seed`, `versions`,
            `machine`, `commit`.
        base_model (`str`, *optional*):
            the Hub id of the model it was made from.
        repo_id (`str`, *optional*):
            the Hub id of this model, for the commands; a placeholder without it.
        figure (`str`, *optional*, defaults to `"needle.png"`):
            the picture of the needle grids, relative to the card.
            It is shown when there is a `report`; `None` shows none.
        metadata: fields of the card's YAML block: `language`, `license`, `license_name`, `license_link`, `datasets`,
            `tags` (added to those that follow from the facts), `model_name`, `base_model_relation`.

    Returns:
        [`~huggingface_hub.ModelCard`]: `.save(path)` writes it, `.content` is its text.

    Raises:
        ValueError: for a config without RoPE, a base model that is no Hub id (a local path would mean nothing to a
            reader), a report without cells, and any fact that contains an access token.
        TypeError: for an unknown field of the YAML block.

    Example:

    ```python
    >>> card = build_model_card(model.config, report=report.to_dict(), base_model="org/base", license="apache-2.0")
    >>> card.save("README.md")
    ```
    """
    _check_metadata(metadata)
    for argument, value in (("base_model", base_model), ("repo_id", repo_id)):
        if value is not None and not _REPO_ID.fullmatch(value):
            raise ValueError(
                f"{argument} must be a Hub id such as 'org/model', got {value!r}. Leave a local path out."
            )
    for argument, given in (("report", report), ("report_before", report_before)):
        if given is not None and not given.get("cells"):
            raise ValueError(f"{argument} has no cells. Give NeedleReport.to_dict(), or leave it out.")
    facts = rope_facts(config)
    name: str | None = metadata.pop("model_name", None) or (repo_id.rpartition("/")[2] if repo_id else None)
    data = _card_data(config, facts, report, training, {"base_model": base_model, "model_name": name, **metadata})
    sections = {
        "title": name or f"{type(config).__name__.removesuffix('Config')} with {_window(facts)} tokens",
        "summary": _summary(facts, report, base_model),
        "facts": _facts(config, base_model, metadata),
        "rope": rope_table(facts),
        "needle": _needle(facts, report, report_before, figure),
        "training": _training(training),
        "loading": _loading(config, repo_id or PLACEHOLDER),
        "serving": _serving(config, facts, repo_id or PLACEHOLDER),
        "limits": _limits(facts, report, reader_notes(config)),
        "provenance": _provenance(training),
    }
    for section, text in (*sections.items(), ("metadata", data.to_yaml())):
        if _TOKEN.search(text):
            raise ValueError(
                f"The {section} of the card would contain an access token (hf_...). Remove it from the facts."
            )
    return ModelCard.from_template(data, template_path=str(TEMPLATE), **sections)


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    for name in metadata:
        if name not in METADATA_FIELDS:
            near = difflib.get_close_matches(name, METADATA_FIELDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"Unknown card field {name!r}.{hint} Fields are {', '.join(METADATA_FIELDS)}.")


def _card_data(
    config: Any,
    facts: list[RopeFacts],
    report: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
    metadata: dict[str, Any],
) -> ModelCardData:
    stages = (training or {}).get("stages") or []
    follows = ["long-context", "rope", *(fact.method or fact.rope_type for fact in facts if _is_extended(fact))]
    follows += ["trl", "generated_from_trainer"] if stages else []
    follows += ["custom_code"] if _has_custom_code(config) else []
    tags = list(dict.fromkeys([*follows, *(metadata.pop("tags", None) or [])]))
    if metadata["base_model"]:
        metadata.setdefault("base_model_relation", "finetune")
    name = metadata.pop("model_name")
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Needle retrieval",
            dataset_type="needle-in-a-haystack",
            dataset_name=f"Needle grid, {length} tokens",
            dataset_config=str(length),
            metric_type="accuracy",
            metric_name="accuracy (percent)",
            metric_value=float(percent(accuracy)),
        )
        for length, (accuracy, _, _) in (accuracy_by_length(report) if report else {}).items()
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=tags,
        model_name=name or type(config).__name__.removesuffix("Config"),
        eval_results=results or None,
        **metadata,
    )


def _is_extended(fact: RopeFacts) -> bool:
    return fact.method is not None or fact.rope_type != "default"


def _has_custom_code(config: Any) -> bool:
    return bool(getattr(config, "auto_map", None))


def _window(facts: list[RopeFacts]) -> str:
    return cell(facts[0].context_length)


def _summary(facts: list[RopeFacts], report: Mapping[str, Any] | None, base_model: str | None) -> str:
    start = f"[{base_model}](https://huggingface.co/{base_model})" if base_model else "A causal language model"
    before = next((fact.original_length for fact in facts if fact.original_length), None)
    words = f"{start} with a context window of {_window(facts)} tokens"
    words += f" instead of {before:,}." if before and before != facts[0].context_length else "."
    if report:
        lengths = accuracy_by_length(report)
        words += f" Needle accuracy at its longest tested length, {max(lengths):,} tokens: "
        words += f"{percent(lengths[max(lengths)][0])} %."
    return words


def _facts(config: Any, base_model: str | None, metadata: Mapping[str, Any]) -> str:
    def listed(value: Any) -> str:
        return cell(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value)

    rows = {
        "architecture": cell(config.model_type)
        + (" (its code is in this repository)" if _has_custom_code(config) else ""),
        "base model": cell(base_model),
        "languages": listed(metadata.get("language")),
        "training data": listed(metadata.get("datasets")),
        "license": listed(metadata.get("license")),
    }
    return markdown_table(("", ""), rows.items())


def _needle(
    facts: list[RopeFacts],
    report: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
    figure: str | None,
) -> str:
    if report is None:
        return f"Needle accuracy: {NOT_REPORTED}."
    window = facts[0].context_length
    parts = [f"![Needle accuracy by context length and depth]({figure})"] if figure else []
    parts.append(needle_table(report, before, window))
    parts.append("After, by depth (0 is the beginning of the prompt):")
    parts.append(needle_grid(report, window))
    settings = report.get("settings") or {}
    notes = ["Accuracy in percent, rounded down. Lengths are tokens of the whole prompt."]
    if window is not None and any(found["context_length"] > window for found in report["cells"]):
        notes.append(f"`*`: longer than the window of {window:,} tokens.")
    shared = max((settings.get("questions_per_haystack") or {"": 1}).values())
    if shared > 1:
        notes.append(f"Up to {shared} independent questions share one text; none sees another.")
    notes.append(f"Task: {cell(settings.get('task'))}. Chance: {cell(settings.get('chance'))}.")
    return "\n\n".join([*parts, " ".join(notes)])


def _training(training: Mapping[str, Any] | None) -> str:
    stages = (training or {}).get("stages")
    if not stages:
        return f"Training: {NOT_REPORTED}."
    parts = [stages_table(stages)]
    tokens = [stage.get("tokens") for stage in stages]
    if all(count is not None for count in tokens):
        parts.append(f"{sum(tokens):,} tokens in all.")
    papers = list(dict.fromkeys(_PAPERS[stage["stage"]] for stage in stages if stage.get("stage") in _PAPERS))
    if papers:
        parts.append(f"Methods: {', '.join(papers)}.")
    return "\n\n".join(parts)


def _loading(config: Any, model: str) -> str:
    options = ', trust_remote_code=True, revision="COMMIT"' if _has_custom_code(config) else ""
    code = (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{model}", dtype="auto"{options})\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{model}")\n```'
    )
    if not options:
        return f"{code}\n\nStock classes: no extra code is needed."
    return (
        f"{code}\n\n`trust_remote_code=True` runs the Python files of this repository. Read them, then pin the commit "
        "that you read with `revision=`. With `lsw-hf` installed, `import lsw_hf` registers the same classes and "
        "neither is needed."
    )


def _serving(config: Any, facts: list[RopeFacts], model: str) -> str:
    rope_types = list(dict.fromkeys(fact.rope_type for fact in facts))
    parts = []
    for line in serving_lines(
        rope_types,
        custom_code=_has_custom_code(config),
        context_length=facts[0].context_length,
        model_type=config.model_type,
        model=model,
    ):
        verdict = f"**{line.program}**" if line.serves else f"**{line.program}**: no."
        parts.append(" ".join(filter(None, [verdict, line.note])))
        if line.command:
            parts.append(f"```bash\n{line.command}\n```")
    return "\n\n".join(parts)


def _limits(facts: list[RopeFacts], report: Mapping[str, Any] | None, notes: list[str]) -> str:
    limits = list(notes)
    if any(fact.rope_type in ("linear", "yarn", "llama3") for fact in facts):
        limits.append("The scaling is static: it changes short prompts too, whatever their length.")
    if any(fact.rope_type in ("dynamic", "longrope") for fact in facts):
        limits.append(
            "The frequencies may depend on the length of the prompt, so a cache of an older prompt may not fit."
        )
    if report is None:
        limits.append("That it accepts long prompts does not say that it uses them: no needle accuracy was reported.")
    else:
        longest = max(found["context_length"] for found in report["cells"])
        window = facts[0].context_length
        if window is not None and longest < window:
            limits.append(f"Tested up to {longest:,} tokens; between there and {window:,} nothing was measured.")
        limits.append("Finding a needle is not understanding a document: it is necessary, not sufficient.")
    limits.append("Language quality, safety and bias: not reported here.")
    return "\n".join(f"- {limit}" for limit in limits)


def _provenance(training: Mapping[str, Any] | None) -> str:
    known = training or {}
    versions = ", ".join(f"{name} {version}" for name, version in (known.get("versions") or {}).items())
    machine = ", ".join(f"{name} {value}" for name, value in (known.get("machine") or {}).items())
    rows = {"versions": versions, "machine": machine, "seed": known.get("seed"), "commit": known.get("commit")}
    return markdown_table(("", ""), [(name, cell(value)) for name, value in rows.items()])
