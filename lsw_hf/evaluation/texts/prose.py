"""Neutral prose for haystacks: sentences without numbers, names or facts that a question could be about."""

from collections.abc import Iterator

import numpy as np

GIVEN_NAMES = (
    "Ada", "Bruno", "Clara", "Dario", "Edith", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karin", "Leon", "Mara",
    "Nils", "Olga", "Pablo", "Rosa", "Silas", "Tessa", "Ugo", "Vera", "Walter", "Yara", "Zeno", "Amos", "Bella",
    "Cyrus", "Delia", "Emil", "Flora", "Gustav", "Hedda", "Ivan", "Judith", "Klaus", "Lydia", "Marek", "Nadia",
    "Oskar", "Petra", "Quentin", "Ruth", "Simon", "Thea", "Ulrich", "Viola", "Willem", "Xenia",
)  # fmt: skip
FAMILY_NAMES = (
    "Abel", "Brandt", "Castle", "Dorn", "Ellis", "Fischer", "Garner", "Holm", "Ivers", "Jansen", "Keller", "Lind",
    "Marlow", "Norden", "Oakes", "Pryor", "Quist", "Renner", "Stone", "Thorn", "Ulmer", "Vance", "Weller", "Young",
    "Zander", "Ashby", "Barrow", "Coen", "Decker", "Engel", "Frost", "Graves", "Hale", "Irving", "Joyce", "Kemp",
    "Lowell", "Moss", "Nash", "Orr", "Penn", "Rowe", "Sutter", "Tate", "Usher", "Voss", "Wade", "Yates",
)  # fmt: skip

WORDS = (
    "amber", "basil", "candle", "desert", "ember", "falcon", "garden", "hammer", "island", "jungle", "kettle",
    "lantern", "marble", "needle", "orchid", "pepper", "quartz", "ribbon", "saddle", "timber", "umbrella",
    "velvet", "walnut", "yellow", "zephyr", "anchor", "butter", "cactus", "dragon", "engine", "feather", "glacier",
    "harvest", "iron", "jacket", "ladder", "meadow", "nectar", "oyster", "pebble", "rocket", "silver", "thunder",
    "violet", "whisper", "acorn", "bridge", "copper", "drift", "echo", "forest", "granite", "hollow", "indigo",
    "juniper", "lemon", "mirror", "north", "onion", "puzzle", "river", "shadow", "tunnel", "willow",
)  # fmt: skip
WISHES = (
    (
        "plant a pear tree", "learn to juggle", "write three letters", "mend an old radio", "watch the stars",
        "paint a small boat", "sing in a quartet", "bake rye bread", "read every map", "build a kite",
        "keep two bees", "find a blue stone", "row a long race", "draw all bridges", "tell a new story",
        "repair the swing",
    ),
    (
        "behind the mill", "near the lighthouse", "in the old station", "on the southern slope", "at the canal",
        "by the chapel", "under the arcade", "on the island", "in the greenhouse", "above the quarry",
        "at the ford", "beside the vineyard", "in the tower", "along the dyke", "at the frontier",
        "inside the barn",
    ),
)  # fmt: skip

_SUBJECTS = (
    "The old ferry", "A narrow path", "The evening train", "The village baker", "A quiet librarian",
    "The north wind", "The wooden bridge", "An empty cart", "The school choir", "A patient gardener",
    "The harbour light", "The river", "A flock of starlings", "The museum guard", "The apple orchard",
    "A travelling painter", "The market square", "The stone wall", "A young carpenter", "The weather station",
    "The morning fog", "A borrowed bicycle", "The town council", "A pair of herons", "The glass workshop",
    "The winter coat", "A letter from the coast", "The kitchen clock", "The long corridor",
    "A handful of students",
)  # fmt: skip
_PREDICATES = (
    "waited without any hurry", "changed a little every season", "looked smaller than before",
    "turned slowly south", "was known for its calm", "kept the same rhythm", "stood open to the rain",
    "seemed to belong to another time", "drew a few curious glances", "was repaired with great care",
    "moved on after a short rest", "carried a faint smell of cedar", "remained where it had always been",
    "gave the neighbours something to talk about", "was painted in a pale colour", "needed very little attention",
    "followed the line of the hills", "made hardly any sound", "was described in an old guide",
    "had lost some of its charm", "became a familiar sight", "was older than most people thought",
    "stayed warm until dusk", "went unnoticed for a long while", "left a thin trace of dust",
)  # fmt: skip
_CLOSINGS = (
    "while the lamps were being lit", "as it did most afternoons", "near the end of autumn",
    "behind the row of poplars", "although nobody had planned it", "before the shops opened",
    "under a low grey sky", "after the festival was over", "at the edge of the meadow",
    "because the road was closed", "during the first warm days", "where the two streams meet",
    "until the bells rang", "on the far side of the valley", "in spite of the cold", "when the tide was out",
    "just beyond the last houses", "with a certain dignity", "for reasons of its own",
    "between two showers of rain",
)  # fmt: skip


def neutral_sentences(generator: np.random.Generator) -> Iterator[str]:
    """Endless English sentences, drawn from 15,000 combinations of phrases written for this purpose.

    Args:
        generator (`np.random.Generator`):
            Source of all randomness; sentences are drawn 256 at a time.
    """
    while True:
        subjects = generator.integers(len(_SUBJECTS), size=256).tolist()
        predicates = generator.integers(len(_PREDICATES), size=256).tolist()
        closings = generator.integers(len(_CLOSINGS), size=256).tolist()
        for subject, predicate, closing in zip(subjects, predicates, closings, strict=True):
            yield f"{_SUBJECTS[subject]} {_PREDICATES[predicate]} {_CLOSINGS[closing]}."
