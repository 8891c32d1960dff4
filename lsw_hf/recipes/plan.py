"""What a run is going to do, before it does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..reports import markdown_table


@dataclass(frozen=True)
class PlannedStage:
    """One row of the plan.

    Args:
        stage (`str`):
            Name of the stage.
        data (`str`):
            What it trains on.
        max_length (`int`):
            Tokens in a row, at most.
        reach (`int`):
            Largest relative distance that the positions can show, plus one; larger than `max_length` with skipped
            positions.
        max_steps (`int`):
            Optimizer steps.
        tokens (`int`):
            Tokens in all steps, at most: steps x batch x length.
        learning_rate (`float`):
            Peak learning rate.
        source (`str`):
            Where the numbers come from.
        options (`dict`):
            All training arguments that differ from their defaults, by their TRL name.
    """

    stage: str
    data: str
    max_length: int
    reach: int
    max_steps: int
    tokens: int
    learning_rate: float
    source: str
    options: dict[str, Any]


@dataclass(frozen=True)
class RecipePlan:
    """The plan of a run.

    Args:
        model (`str`):
            Path, id, or class of the model that the run starts from.
        original_length (`int`), context_length (`int`):
            Window before and after, in tokens.
        rope (`dict`):
            The RoPE change, by the names of [`extend_context`].
        seed (`int`):
            Seed of everything random.
        stages (`tuple[PlannedStage, ...]`):
            The stages in order.
        hub_id (`str`, *optional*):
            Id of the model on the Hub, where it comes from there.
    """

    model: str
    original_length: int
    context_length: int
    rope: dict[str, Any]
    seed: int
    stages: tuple[PlannedStage, ...]
    hub_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, ready for JSON."""
        return {**asdict(self), "tokens": self.tokens}

    @property
    def tokens(self) -> int:
        """Tokens of all stages together, at most."""
        return sum(stage.tokens for stage in self.stages)

    def to_markdown(self) -> str:
        """Return the plan as a Markdown table under one line about the model."""
        rope = ", ".join(f"{key} {value}" for key, value in self.rope.items() if value is not None)
        header = ["stage", "data", "row length", "reach", "steps", "tokens", "learning rate", "numbers from"]
        rows = []
        for stage in self.stages:
            counts = (stage.max_length, stage.reach, stage.max_steps, stage.tokens)
            numbers = [f"{count:,}" for count in counts]
            rows.append([stage.stage, stage.data, *numbers, f"{stage.learning_rate:g}", stage.source])
        return "\n\n".join(
            [
                f"{self.model}: {self.original_length:,} -> {self.context_length:,} tokens ({rope}), seed {self.seed}",
                markdown_table(header, rows, align="--rrrrr-"),
                f"{self.tokens:,} tokens in all, at most.",
            ]
        )

    def __str__(self) -> str:
        return self.to_markdown()
