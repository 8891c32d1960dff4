"""`lsw-hf train`: the recipe on your own model and data. A module of its own because every command is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .output import CommandOutput

if TYPE_CHECKING:
    from ..recipes.longskywork import LongSkyworkRecipe
    from ..recipes.outcome import RecipeResults

HELP = "run the recipe on your model, your documents and your instructions"
EXAMPLE = (
    "lsw-hf train --model PATH_OR_ID --documents corpus/ --instructions chats.jsonl "
    "--context-length 131072 --output-dir runs/mine --plan"
)


def main(arguments: Sequence[str]) -> int:
    """Run the recipe with the given options and return its exit status.

    The options are parsed by TRL's own parser (flags, or `--config run.yaml`), so they are not repeated here.
    """
    from ..recipes.console import quiet_libraries
    from ..recipes.stages import DEFAULT_STAGES
    from .train_options import data_from_arguments, parse_recipe_arguments, recipe_from_arguments

    options = parse_recipe_arguments(list(arguments))
    with CommandOutput(options.json) as output, quiet_libraries():
        recipe = recipe_from_arguments(options)
        data = data_from_arguments(options)
        recipe.check(**data)
        if options.stages is None:
            left_out = [name for name in DEFAULT_STAGES if name not in recipe.stages]
            missing = {"continual_pretraining": "--documents", "sft": "--instructions"}
            for name in left_out:
                output.show(f"Without {missing[name]} the stage {name} is left out.\n", {"left_out": left_out})
        show_plan(recipe, output)
        if not options.plan:
            show_results(recipe.run(**data), output)
    return 0


def show_plan(recipe: LongSkyworkRecipe, output: CommandOutput) -> None:
    """Show what a run is going to do."""
    plan = recipe.plan()
    output.show(f"{plan}\n", {"plan": plan.to_dict()})


def show_results(results: RecipeResults, output: CommandOutput) -> None:
    """Show what a run has reached, and what to open."""
    for title, report in (("Before", results.before), ("After", results.after)):
        if report is not None:
            table = f"\n{title}: needle accuracy by length and depth\n\n{report.to_markdown()}"
            output.show(table, {title.lower(): report.to_dict()})
    figure = results.model_path.parent / "needle.png"
    place = f"\n{f'Open {figure}; the' if figure.exists() else 'The'} model is in {results.model_path}."
    output.show(place, {"model_path": str(results.model_path)})
