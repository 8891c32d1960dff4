"""Paraphrases of every question and its answer, English and Chinese. Slots are filled by the builders."""

from ..vocabulary import Language
from .templates_zh import CHINESE

Templates = dict[str, tuple[tuple[str, str], ...]]

ENGLISH: Templates = {
    "cell": (
        ("What is the {column} of the row whose {key_column} is {key}?", "{value}"),
        ("Look up {key_column} {key} and give its {column}.", "{value}"),
        ("In the row with {key_column} {key}, what stands under {column}?", "{value}"),
    ),
    "row": (
        ("Give the complete row whose {key_column} is {key}.", "{value}"),
        ("Write out everything the table says about {key_column} {key}.", "{value}"),
    ),
    "reverse": (
        ("Which {key_column} has {column} {given}?", "{value}"),
        ("Exactly one row has {column} {given}. What is its {key_column}?", "{value}"),
    ),
    "composite": (
        ("In the row where {first} is {first_value} and {second} is {second_value}, what is the {column}?", "{value}"),
        ("Find the row with {first} {first_value} and {second} {second_value}, and give its {column}.", "{value}"),
    ),
    "ordinal": (
        ("What is the {column} in row number {number}? Count from 1 and leave out headers.", "{value}"),
        ("Counting the rows from 1 without headers, what does row {number} have under {column}?", "{value}"),
    ),
    "multi": (
        ("Give the {column} of each of these rows, one per line, named by {key_column}: {keys}.", "{value}"),
        ("List {key_column} and {column} of the following rows in this order: {keys}.", "{value}"),
    ),
    # The words of "cell": a hint that the row may be missing, given only where it is, would be the answer.
    "absent": (
        (
            "What is the {column} of the row whose {key_column} is {key}?",
            "The table has no row with {key_column} {key}.",
        ),
        ("Look up {key_column} {key} and give its {column}.", "The table has no row with {key_column} {key}."),
        (
            "In the row with {key_column} {key}, what stands under {column}?",
            "The table has no row with {key_column} {key}.",
        ),
    ),
    "neighbor": (
        ("What is the {column} of the row directly below the one whose {key_column} is {key}?", "{value}"),
        ("Find {key_column} {key} and go one row further. What is the {column} there?", "{value}"),
    ),
    "join": (
        (
            "Take the row of table A whose {key_column} is {key} and look up its {link} in table B. What is the "
            "{column} there?",
            "{steps}\nSo the answer is {value}.",
        ),
        (
            "According to table B, which {column} belongs to the {link} that table A names for {key_column} {key}?",
            "{steps}\nSo the answer is {value}.",
        ),
    ),
    "compare": (
        (
            "Which row has the larger (or later) {column}: the one with {key_column} {key} or the one with "
            "{key_column} {other}?",
            "{steps}\nThe larger one is that of {value}.",
        ),
        (
            "Compare the {column} of {key_column} {key} and of {key_column} {other}. Which is larger (or later)?",
            "{steps}\nThe larger one is that of {value}.",
        ),
    ),
    "filter_sum": (
        (
            "Quote every row where {condition}, then add up their {column}.",
            "{steps}\n{sum}\nThe sum is {value}.",
        ),
        (
            "First find the rows where {condition}. What is the sum of {column} over them? Show the rows.",
            "{steps}\n{sum}\nThe sum is {value}.",
        ),
    ),
    "add_rows": (
        (
            "Add the {column} of the rows whose {key_column} is one of: {keys}. Quote each value first.",
            "{steps}\n{sum}\nThe sum is {value}.",
        ),
        (
            "What do these rows, named by {key_column}, have together under {column}: {keys}? Show your steps.",
            "{steps}\n{sum}\nThe sum is {value}.",
        ),
    ),
    "count": (
        ("In how many rows is it true that {condition}?", "{value}"),
        ("Count the rows where {condition}.", "{value}"),
    ),
    "sum": (
        ("What is the sum of {column} over all rows where {condition}?", "{value}"),
        ("Add up {column} for every row where {condition}.", "{value}"),
    ),
    "mean": (
        ("What is the mean of {column} over all rows where {condition}? Round to two decimals.", "{value}"),
        ("Average {column} over the rows where {condition}, rounded to two decimals.", "{value}"),
    ),
    "extreme": (
        ("What is the {extreme} {column} in the table, and which row has it?", "{value}, in the row of {key}"),
        ("Find the {extreme} value of {column} and name its row.", "{value}, in the row of {key}"),
    ),
    "top_k": (
        ("Which {number} rows have the largest (or latest) {column}? Give {key_column}, largest first.", "{value}"),
        (
            "Rank the rows by {column}, largest (or latest) first, and give {key_column} of the top {number}.",
            "{value}",
        ),
    ),
    "most_frequent": (
        ("Which {column} occurs most often, and how many times?", "{value}, {times} times"),
        ("What is the most common {column} in the table? Give its number of rows as well.", "{value}, {times} times"),
    ),
    "duplicates": (
        ("How many different values of {column} occur more than once?", "{value}"),
        ("Count the values that stand in at least two rows under {column}.", "{value}"),
    ),
    "distinct": (
        ("How many different values does the column {column} hold?", "{value}"),
        ("Count the distinct values of {column}.", "{value}"),
    ),
    "monotone": (
        ("From the first row to the last, is {column} in ascending order, descending order, or neither?", "{value}"),
        ("Is the table sorted by {column}? Answer ascending, descending or neither.", "{value}"),
    ),
    "list_all": (
        ("List the {key_column} of all rows where {condition}, one per line.", "{value}"),
        ("For which rows is it true that {condition}? Give every {key_column}, one per line.", "{value}"),
    ),
}

TEMPLATES: dict[Language, Templates] = {"en": ENGLISH, "zh": CHINESE}
