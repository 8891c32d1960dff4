"""Rows as people have them, in the two forms that are trained: ShareGPT, Alpaca, and content in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What the speakers of ShareGPT rows are called in published data sets.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
_MESSAGES, _PAIR = "messages", ("prompt", "completion")
_CONVERSATIONS = ("conversations", "conversation", "dialogue", "dialog")
_SPEAKER, _SAID = ("from", "speaker", "role"), ("value", "text", "content")
SHAREGPT, ALPACA, PARTS = "ShareGPT", "Alpaca", "OpenAI"


def with_known_columns(row: Mapping[str, Any], place: str) -> tuple[dict[str, Any], str | None]:
    """Return a row in one of the trained forms, where it has another one that is known.

    * ShareGPT: `conversations` (or `conversation`, `dialogue`) of `{"from": ..., "value": ...}` become `messages`.
    * Alpaca: `instruction`, `input` and `output` become `prompt` and `completion`, of one message each, so that the
      chat template writes them, and `history` earlier messages.
    * A text `system` beside messages becomes the first of them.
    * OpenAI: `content` in parts (`[{"type": "text", "text": ...}]`) becomes their text.

    Args:
        row (`Mapping`):
            The row.
        place (`str`):
            Where it is, for the error message.

    Returns:
        `tuple[dict, str | None]`: the row, and what was recognized; `None` for a row that is returned as it is.

    Raises:
        ValueError: an unknown speaker, a turn without one, a part that is no text, a question of nothing.
    """
    has = {name for name, value in row.items() if value is not None}
    found = None
    row = dict(row)
    if _MESSAGES not in has and not has.issuperset(_PAIR):
        column = next((name for name in _CONVERSATIONS if isinstance(row.get(name), list)), None)
        if column is not None:
            turns = row.pop(column)
            turned = [_message(turn, f"{place}: turn {number} of {column!r}") for number, turn in enumerate(turns)]
            row[_MESSAGES] = turned
            found = SHAREGPT
        elif row.get("instruction") is not None and row.get("output") is not None:
            row = _from_alpaca(row, place)
            found = ALPACA
    if isinstance(row.get("system"), str):
        for column in (_MESSAGES, "prompt"):
            if isinstance(row.get(column), list):
                row[column] = _system(row) + row[column]
    for column in (_MESSAGES, *_PAIR):
        messages = row.get(column)
        if isinstance(messages, list) and any(map(_is_in_parts, messages)):
            row[column] = [
                _joined(message, f"{place}: message {number} of {column!r}") if _is_in_parts(message) else message
                for number, message in enumerate(messages)
            ]
            found = found or PARTS
    return row, found


def _from_alpaca(row: dict[str, Any], place: str) -> dict[str, Any]:
    asked, given, answer, history = (row.pop(name, None) for name in ("instruction", "input", "output", "history"))
    given, history = given or "", history or []
    for name, text in (("instruction", asked), ("input", given), ("output", answer)):
        if not isinstance(text, str):
            raise ValueError(f"{place}: {name!r} is {type(text).__name__}, but it must be a string.")
    if not (asked + given).strip():
        raise ValueError(f"{place}: 'instruction' and 'input' are empty. Remove the row or fill it in.")
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise ValueError(f"{place}: 'history' must be a list of pairs of question and answer.")
    earlier = [
        {"role": role, "content": text}
        for turn in history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    question = {"role": "user", "content": "\n\n".join(text for text in (asked, given) if text)}
    return {**row, "prompt": [*earlier, question], "completion": [{"role": "assistant", "content": answer}]}


def _system(row: dict[str, Any]) -> list[dict[str, str]]:
    text = row.pop("system", None)
    return [{"role": "system", "content": text}] if isinstance(text, str) and text.strip() else []


def _message(turn: Any, where: str) -> Any:
    if not isinstance(turn, Mapping):
        return turn
    speaker = next((name for name in _SPEAKER if turn.get(name) is not None), None)
    said = next((name for name in _SAID if turn.get(name) is not None), None)
    if speaker is None or said is None:
        raise ValueError(
            f"{where} has {sorted(name for name in turn if turn[name] is not None)}, but it must have one of "
            f"{', '.join(_SPEAKER)} and one of {', '.join(_SAID)}."
        )
    role = SPEAKERS.get(str(turn[speaker]).lower())
    if role is None:
        raise ValueError(
            f"{where} is said by {turn[speaker]!r}. Known are {', '.join(SPEAKERS)}; rename the others, or leave the "
            "row out."
        )
    others = {name: value for name, value in turn.items() if name not in (speaker, said) and value is not None}
    return {"role": role, "content": turn[said], **others}


def _is_in_parts(message: Any) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("content"), list)


def _joined(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    texts = []
    for part in message["content"]:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"{where} has a part of type {kind!r}, but only text is trained. Leave the row out.")
        texts.append(text)
    return {**message, "content": "".join(texts)}
