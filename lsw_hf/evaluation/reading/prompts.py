"""From words to the token ids that a model sees: template, special tokens, counting."""

from bisect import bisect_left
from typing import Any, Literal

PromptStyle = Literal["auto", "plain", "chat"]


class PromptEncoder:
    """Turns prompts into the ids that a model sees. Text decides, the tokenizer counts: the ids of a prompt are always
    the tokenizer's ids of its whole text.

    Args:
        tokenizer ([`PreTrainedTokenizerBase`]):
            The model's tokenizer.
        style (`str`, *optional*, defaults to `"auto"`):
            `"plain"` encodes the prompt with the tokenizer's special tokens, `"chat"` wraps it as one user turn of the
            chat template, `"auto"` is chat if the tokenizer has a template.

    Raises:
        ValueError: for an unknown style, or `"chat"` without a chat template.
    """

    def __init__(self, tokenizer: Any, style: PromptStyle = "auto") -> None:
        if style not in ("auto", "plain", "chat"):
            raise ValueError(f"prompt_style must be 'auto', 'plain' or 'chat'; got {style!r}")
        has_template = getattr(tokenizer, "chat_template", None) is not None
        if style == "chat" and not has_template:
            raise ValueError(
                "prompt_style='chat' needs a tokenizer with a chat template; this one has none. "
                "Set tokenizer.chat_template, or use prompt_style='plain' for a base model"
            )
        self.tokenizer = tokenizer
        self.style = ("chat" if has_template else "plain") if style == "auto" else style

    def wrap(self, prompt: str, answer_prefix: str = "", separator: str = " ") -> str:
        """Return the text that the model sees: the prompt in its template, then the given beginning of the answer."""
        if self.style == "chat":
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return str(text) + answer_prefix
        return f"{prompt}{separator}{answer_prefix}" if answer_prefix else prompt

    def ids(self, text: str) -> list[int]:
        """Token ids of a wrapped prompt. A closing end-of-sequence token that the tokenizer adds is dropped."""
        ids = self.tokenizer(text, add_special_tokens=self.style == "plain", verbose=False)["input_ids"]
        return list(ids[: len(ids) - self._added_eos(ids, text)])

    def unknown_words(self, text: str) -> bool:
        """Whether the tokenizer has no token of its own for a part of the text: nothing there could be told apart."""
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        return unknown is not None and unknown in self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _added_eos(self, ids: list[int], text: str) -> int:
        """1 if the last id is an end of sequence that the text does not contain: nothing can be asked after it."""
        eos = self.tokenizer.eos_token
        return int(bool(ids) and eos is not None and ids[-1] == self.tokenizer.eos_token_id and not text.endswith(eos))

    def token_starts(self, text: str, positions: list[int]) -> list[int] | None:
        """Index of the first token at or after each character position; `None` if the tokenizer has no offsets."""
        if not self.tokenizer.is_fast:
            return None
        special = self.style == "plain"
        encoded = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        # The end of a token is above the position of every character before it, also where a token owns the space
        # in front of its word; special tokens have the empty span (0, 0).
        ends = [end for _, end in encoded["offset_mapping"]]
        for index in range(1, len(ends)):
            ends[index] = max(ends[index], ends[index - 1])
        return [bisect_left(ends, position + 1) for position in positions]
