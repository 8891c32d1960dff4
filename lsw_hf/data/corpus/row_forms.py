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

    * ShareGPT: `conversations` (or `conversation`, `dialogue`) of `{"from": ..., "value": ...}` become `messages`;
      `system` beside it their first message.
    * Alpaca: `instruction`, `input` and `output` become `prompt` and `completion`, of one message each, so that the
      chat template writes them; a `system` goes first.
    * OpenAI: `content` in parts (`[{"type": "text", "text": ...}]`) becomes their text.

    Args:
        row (`Mapping`):
            The row.
        place (`str`):
            Where it is, for the error message.

    Returns:
        `tuple[dict, str | None]`: the row, and what was recognized; `None` for a row that is returned as it is.

    Raises:
        ValueError: an unknown speaker, or a part that is no text.
    """
    has = {name for name, value in row.items() if value is not None}
    found = None
    row = dict(row)
    if _MESSAGES not in has and not has.issuperset(_PAIR):
        column = next((name for name in _CONVERSATIONS if isinstance(row.get(name), list)), None)
        if column is not None:
            turns = row.pop(column)
            turned = [_message(turn, f"{place}: turn {number} of {column!r}") for number, turn in enumerate(turns)]
            row[_MESSAGES] = _system(row) + turned
            found = SHAREGPT
        elif isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
            asked = "\n\n".join(text for text in (row.pop("instruction"), row.pop("input", None)) if text)
            row["prompt"] = [*_system(row), {"role": "user", "content": asked}]
            row["completion"] = [{"role": "assistant", "content": row.pop("output")}]
            found = ALPACA
    for column in (_MESSAGES, *_PAIR):
        messages = row.get(column)
        if isinstance(messages, list) and any(map(_is_in_parts, messages)):
            row[column] = [
                _joined(message, f"{place}: message {number} of {column!r}") if _is_in_parts(message) else message
                for number, message in enumerate(messages)
            ]
            found = found or PARTS
    return row, found


def _system(row: dict[str, Any]) -> list[dict[str, str]]:
    text = row.pop("system", None)
    return [{"role": "system", "content": text}] if isinstance(text, str) and text.strip() else []


def _message(turn: Any, where: str) -> Any:
    if not isinstance(turn, Mapping):
        return turn
    speaker = next((name for name in _SPEAKER if name in turn), None)
    said = next((name for name in _SAID if name in turn), None)
    if speaker is None or said is None:
        return dict(turn)
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
