"""One row of the table of classes: what every method does to one configuration."""

from __future__ import annotations

import copy
import json
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from benchmarks.context_reader import FAULTS, load, logits_of
from benchmarks.context_subjects import SPELLINGS, Subject
from benchmarks.layer_probe import ProbedLayer, probe_layers
from benchmarks.rotary_readings import Reading, RotaryCall, broken_rules, read_tables, rotary_calls, tables_of
from benchmarks.tiny_models import LENGTHS, WINDOWS, config_from, tiny_model

METHODS = ("default", "none", "linear", "ntk", "abf", "yarn", "llama3", "longrope")
TARGETS = (2, 8)
SEPARATOR = " | "
TOLERANCE = 1e-4
"""Largest difference of logits that counts as equal, relative to the largest logit."""


@dataclass
class Cell:
    """
    What one method did at one target.

    Args:
        outcome (`str`):
            `"extended"`, `"refused"`, `"wrong"`, or `"not built"` where there is no model to extend.
        reason (`str`):
            The refusal, or what is wrong.
        folders (`list[Path]`):
            What other readers should read the same.
        notes (`list[str]`):
            What `verify_context` says that some readers will not understand.
    """

    outcome: str
    reason: str = ""
    folders: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Row:
    """
    The model of one configuration, and what it does before any extension.

    Args:
        subject (`Subject`):
            The configuration.
        root (`Path`):
            Folder for what is saved.
    """

    def __init__(self, subject: Subject, root: Path) -> None:
        self.subject, self.root = subject, root
        self.config: PreTrainedConfig = config_from(subject.raw)
        text = self.config.get_text_config(decoder=True)
        self.window: int | None = _made_for(text)
        self.rotates = bool(getattr(text, "rope_parameters", None)) and isinstance(self.window, int)
        self.model: PreTrainedModel | None = None
        self.all_local = False
        self.layers: list[ProbedLayer] = []
        self.before: dict[str, Reading] = {}
        self.calls: list[RotaryCall] = []

    def build(self) -> None:
        """The tiny model, its layers and its rotary tables; nothing for a model that has no rotary parameters."""
        if not self.rotates:
            return
        self.model = tiny_model(self.config)
        self.layers = probe_layers(tiny_model(config_from(self.subject.small)))
        turning = [layer for layer in self.layers if layer.rotates]
        # a sliding window as wide as the model's own window is none today, and one after every extension
        capped = getattr(self.config.get_text_config(decoder=True), "sliding_window", None) == self.window
        self.all_local = bool(turning) and (capped or all(layer.local for layer in turning))
        self.calls = rotary_calls(self.model, self.window)
        self.before = read_tables(self.model, self.window, self.all_local)

    def save_source(self) -> Path:
        """The folder that is extended without being loaded: the published spelling, and the weights."""
        folder = self.root / "source"
        self.model.save_pretrained(folder)
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        raw = {**self.subject.raw, "architectures": saved["architectures"]}
        (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
        keep_expected(self.model, folder, self.window, self.window)
        return folder

    def options(self, method: str) -> dict[str, Any]:
        """Arguments besides the target: none for the default, factors above the ones in force for longrope."""
        if method == "default":
            return {}
        if method != "longrope":
            return {"method": method}
        table = next((table for table in self.before.values() if not table.local), None)
        table = table or next(iter(self.before.values()), None)
        if table is None:
            return {"method": method, "rope_factors": [1.0]}
        used = torch.unique(table.frequencies[table.frequencies > 0]).flip(0)
        theta = _base(self.config)
        plain = theta ** (-torch.arange(len(used), dtype=torch.float64) / len(used))
        ramp = 1.0 + torch.arange(len(used), dtype=torch.float64) * 8.0 / len(used)
        return {"method": method, "rope_factors": (plain / used * ramp).tolist()}


def _made_for(text: PreTrainedConfig) -> int | None:
    """The window, or what YaRN's factor says where the window was left as it was (Qwen's cards)."""
    window, rope = getattr(text, "max_position_embeddings", None), getattr(text, "rope_parameters", None) or {}
    if not isinstance(window, int) or rope.get("rope_type") != "yarn":
        return window
    return max(window, int((rope.get("factor") or 1) * rope["original_max_position_embeddings"]))


def _base(config: PreTrainedConfig) -> float:
    parameters = config.get_text_config(decoder=True).rope_parameters
    entries = [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
    reaching = [
        parameters[key] for key in ("full_attention", "hybrid", "main") if isinstance(parameters.get(key), dict)
    ]
    return float((reaching or entries)[0].get("rope_theta") or 10_000.0)


def row_of_tokens(window: int, target: int) -> dict[str, torch.Tensor]:
    """Few tokens at positions that reach the target: the start, the old window's end, the new one's."""
    positions = [*range(8), *range(window - 4, window + 4), *range(target - 4, target)]
    positions = sorted({position for position in positions if 0 <= position < target})
    ids = torch.randint(3, 97, (1, len(positions)), generator=torch.Generator().manual_seed(3))
    return {"input_ids": ids, "position_ids": torch.tensor([positions])}


def keep_expected(model: PreTrainedModel, folder: Path, window: int, target: int) -> torch.Tensor:
    """Stores a row and its logits beside a saved model."""
    row = row_of_tokens(window, target)
    logits = logits_of(model, row)
    torch.save({"row": row, "logits": logits}, folder / "expected.pt")
    return logits


def is_ours(error: Exception) -> bool:
    """Whether an error is a refusal: a ValueError or TypeError raised by a line of the package."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, (ValueError, TypeError)) and "lsw_hf" in Path(frames[-1].filename).parts


def refusal_or_fault(error: Exception) -> Cell:
    """The cell of a call that raised."""
    text = " ".join(str(error).split())
    if is_ours(error):
        return Cell("refused", text)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Cell("wrong", f"{type(error).__name__} in {Path(frame.filename).name}: {text[:200]}")


def config_cell(row: Row, method: str, times: int) -> Cell:
    """What `extend_config` does, judged by rotary modules that are built on their own."""
    from lsw_hf.context.extension import extend_config

    target = (row.window or 4_096) * times
    try:
        extended = extend_config(row.config, context_length=target, **row.options(method))
        if not row.rotates:
            return Cell("wrong", "extended, but its class has no rotary parameters")
        problems = _problems(row, method, *(_fresh(row, extended, length) for length in (row.window, target)))
    except FAULTS as error:
        return refusal_or_fault(error)
    return Cell("wrong", SEPARATOR.join(problems)) if problems else Cell("extended")


def _fresh(row: Row, config: PreTrainedConfig, length: int) -> dict[str, Reading]:
    calls = []
    for call in row.calls:
        last = {"position_ids": call.kwargs["position_ids"].clone()} if "position_ids" in call.kwargs else {}
        args = tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in call.args)
        positions = last.get("position_ids", args[1] if len(args) > 1 else None)
        if isinstance(positions, torch.Tensor):
            positions[positions == row.window - 1] = length - 1
        calls.append(RotaryCall(call.label, call.module, args, call.kwargs | last))
    return tables_of(calls, config, row.all_local)


def _problems(row: Row, method: str, at_window: dict[str, Reading], at_target: dict[str, Reading]) -> list[str]:
    grows = method != "none"
    found = broken_rules(row.before, at_window, grows=False, same=not grows)
    found += broken_rules(row.before, at_target, grows=grows and not row.all_local, same=False)
    if row.model is not None and not row.before:
        found.append("extended, but no layer rotates")
    return list(dict.fromkeys(found))


def live_cell(row: Row, method: str, times: int, source: Path) -> Cell:
    """What `extend_context` does to the live model; at the smaller target also what is saved and read back here."""
    from lsw_hf.context.extension import extend_context

    target = row.window * times
    model = copy.deepcopy(row.model)
    try:
        extend_context(model, context_length=target, **row.options(method))
        tables = [read_tables(model, length, row.all_local) for length in (row.window, target)]
        problems = _problems(row, method, *tables)
        cell = Cell("extended")
        if times == TARGETS[0]:
            problems += _saved_problems(row, method, model, source, cell)
    except FAULTS as error:
        return refusal_or_fault(error)
    return Cell("wrong", SEPARATOR.join(problems), cell.folders, cell.notes) if problems else cell


def _saved_problems(row: Row, method: str, model: PreTrainedModel, source: Path, cell: Cell) -> list[str]:
    from lsw_hf.context.checkpoint import extend_checkpoint
    from lsw_hf.context.verification import verify_context

    target = row.window * TARGETS[0]
    folder, copied = row.root / f"{method}.saved", row.root / f"{method}.copied"
    model.save_pretrained(folder)
    logits = keep_expected(model, folder, row.window, target)
    report = verify_context(folder, model, raise_on_mismatch=False)
    problems = [f"verify_context: {problem}" for problem in report.problems]
    options = row.options(method)
    chosen = {"method": options.pop("method")} if "method" in options else {}
    notes = extend_checkpoint(source, copied, context_length=target, options=options, **chosen).notes
    torch.save(torch.load(folder / "expected.pt"), copied / "expected.pt")
    cell.notes = [*report.notes, *notes]
    texts = [(where / "config.json").read_text(encoding="utf-8") for where in (folder, copied)]
    # where both files say the same of lengths and rope, one stands for both: the weights are the same file
    cell.folders = [folder] if _said(texts[0]) == _said(texts[1]) else [folder, copied]
    for where in cell.folders:
        read = logits_of(load(where), row_of_tokens(row.window, target))
        difference = float((read - logits).abs().max() / logits.abs().max())
        if not difference <= TOLERANCE:
            problems.append(f"the {where.suffix[1:]} folder read back here is {difference:.1e} off")
    return problems


def _said(text: str) -> dict[str, Any]:
    raw = json.loads(text)
    raw = raw.get("text_config", raw)
    return {key: raw.get(key) for key in (*SPELLINGS, *LENGTHS, *WINDOWS, "head_dim", "layer_types")}
