"""Token ids of many prompts that begin with the same long text, without reading that text again for each."""

from ..reading.prompts import PromptEncoder

# Characters of the shared text that are read again with each ending: many words, so that no tokenizer looks further.
_REREAD = 400


class SharedHead:
    """A text that many prompts begin with.

    Tokenizers look at words and their neighbors, so an ending can only change the last tokens of what stands before
    it. Each ending is tokenized together with the last words of the shared text; where these words do not come out as
    they do in the shared text, the whole prompt is tokenized instead. So the ids are always those of the whole prompt.

    Args:
        encoder ([`PromptEncoder`]):
            The tokenizer.
        text (`str`):
            The shared beginning of wrapped prompts.
    """

    def __init__(self, encoder: PromptEncoder, text: str) -> None:
        self.encoder, self.text = encoder, text
        border = text.find(" ", max(len(text) - _REREAD, 0))
        self._reread = text[border:] if 0 < border < len(text) - 1 else ""
        self._ids = encoder.ids(text) if self._reread else []
        self._reread_ids = self._bare(self._reread)
        # The first token may differ from that in the text, where something stands before it.
        kept = len(self._reread_ids) - 1
        self._usable = kept >= 8 and self._ids[-kept:] == self._reread_ids[1:]

    def ids(self, ending: str) -> list[int]:
        """Token ids of the shared text and this ending."""
        if self._usable:
            joined = self._bare(self._reread + ending)
            settled = len(self._reread_ids) - 4
            if joined[:settled] == self._reread_ids[:settled]:
                return self._ids[: len(self._ids) - len(self._reread_ids) + 1] + joined[1:]
        return self.encoder.ids(self.text + ending)

    def _bare(self, text: str) -> list[int]:
        return list(self.encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
