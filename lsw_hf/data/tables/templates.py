"""Paraphrases of every question and its answer, English and Chinese. Slots are filled by the builders."""

from .vocabulary import Language

TEMPLATES: dict[Language, dict[str, tuple[tuple[str, str], ...]]] = {
    "en": {
        "cell": (
            ("What is the {column} of the row whose {key_column} is {key}?", "{value}"),
            ("Look up {key_column} {key} and give its {column}.", "{value}"),
            ("In the row with {key_column} {key}, what stands under {column}?", "{value}"),
        ),
    },
    "zh": {
        "cell": (
            ("{key_column}为{key}的那一行，{column}是什么？", "{value}"),
            ("请查找{key_column}{key}，给出对应的{column}。", "{value}"),
            ("表中{key_column}等于{key}时，{column}一栏的内容是什么？", "{value}"),
        ),
    },
}
