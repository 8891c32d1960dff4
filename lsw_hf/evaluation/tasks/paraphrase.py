"""A needle that shares no word with its question, in the spirit of NoLiMa (2502.05167): the list is our own."""

from itertools import islice

import numpy as np

from ..texts.fillers import FillerSource, ProseFiller
from ..texts.prose import GIVEN_NAMES
from .sample import TaskDraft, UnitTask

# What is said of a person, and what it means in other words; no content word occurs on both sides.
_PAIRS = (
    ("{who} grew up within sight of the Eiffel Tower", "Who spent a childhood in the French capital?"),
    ("{who} has not eaten meat or fish for ten years", "Which person is a vegetarian?"),
    ("{who} cannot tell red from green", "Who is colour-blind?"),
    ("{who} fixes teeth from Monday to Friday", "Which person works as a dentist?"),
    ("{who} keeps eleven hives behind the shed", "Who is a beekeeper?"),
    ("{who} sleeps badly whenever the plane leaves after midnight", "Which person dislikes night flights?"),
    ("{who} was born on the last day of December", "Whose birthday is New Year's Eve?"),
    ("{who} has climbed Everest twice", "Who stood on the highest mountain on Earth?"),
    ("{who} plays first violin", "Which person makes music on a string instrument?"),
    ("{who} has to avoid bread and ordinary pasta", "Who tolerates no gluten?"),
    ("{who} lost both parents as a toddler", "Which person was an orphan?"),
    ("{who} speaks with the pupils about Newton's laws every week", "Who teaches physics?"),
    ("{who} drives people home in a yellow cab", "Which person is a taxi driver?"),
    ("{who} signed the divorce papers in spring", "Whose marriage has ended?"),
    ("{who} writes with the left hand only", "Which person is a southpaw?"),
    ("{who} has a twin", "Who shared a womb with a sibling?"),
    ("{who} delivers letters on the hill road", "Which person is employed by the post office?"),
    ("{who} spends each August picking grapes near Bordeaux", "Who helps with the wine harvest?"),
    ("{who} lives in a house without stairs because of the wheelchair", "Which person cannot walk?"),
    ("{who} looks after lions and penguins", "Who is a zookeeper?"),
    ("{who} reads with the fingertips", "Which person is blind?"),
    ("{who} puts out burning roofs", "Who is a firefighter?"),
    ("{who} swore the oath on the bench of the high court", "Which person became a judge?"),
    ("{who} wears black since the funeral of the husband", "Who is a widow?"),
)


class ParaphraseTask(UnitTask):
    """One sentence about a person among prose; asked is who it was, in other words. Other persons' sentences distract.

    Args:
        num_distractors (`int`, *optional*, defaults to 3):
            Sentences about other persons.
        filler ([`FillerSource`], *optional*):
            Text around them; defaults to neutral prose without names.
    """

    name = "paraphrase"
    match = "any"
    max_new_tokens = 16

    def __init__(self, num_distractors: int = 3, filler: FillerSource | None = None) -> None:
        if not 0 <= num_distractors < len(_PAIRS):
            raise ValueError(f"num_distractors must be between 0 and {len(_PAIRS) - 1}; got {num_distractors}")
        self.num_distractors = num_distractors
        self.filler: FillerSource = ProseFiller() if filler is None else filler

    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """`units` sentences of prose with the needle and its distractors among them."""
        pairs = generator.permutation(len(_PAIRS))[: self.num_distractors + 1].tolist()
        names = generator.permutation(len(GIVEN_NAMES))[: self.num_distractors + 1].tolist()
        depths = generator.random(self.num_distractors + 1).tolist()
        lines = [
            (depth, _PAIRS[pair][0].format(who=GIVEN_NAMES[name]) + ".")
            for depth, pair, name in zip(depths, pairs, names, strict=True)
        ]
        pieces = list(islice(self.filler.sentences(generator), units))
        for depth, line in sorted(lines, reverse=True):
            pieces.insert(round(depth * units), line)
        prompt = (
            "Read the text and answer the question about it with one name.\n\n"
            f"{' '.join(pieces)}\n\nQuestion: {_PAIRS[pairs[0]][1]}\nAnswer:"
        )
        return TaskDraft(prompt, (GIVEN_NAMES[names[0]],), "", {"depth": depths[0], "needle": lines[0][1]})
