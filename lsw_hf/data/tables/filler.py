"""Text that is not the table: introductions, distracting sentences, and words that fill a row up to its length."""

from collections.abc import Sequence

import numpy as np

from .token_costs import TokenCosts
from .vocabulary import Language

PREAMBLES: dict[Language, tuple[str, ...]] = {
    "en": (
        "Read the table below and answer the question.",
        "The following table is complete. Use nothing else to answer.",
        "Below you find a table. A question about it follows.",
    ),
    "zh": (
        "请阅读下面的表格并回答问题。",
        "下表内容完整，请仅根据表格作答。",
        "以下是一张表格，之后是与它有关的问题。",
    ),
}
TITLES: dict[Language, tuple[str, str]] = {"en": ("Table A", "Table B"), "zh": ("表A", "表B")}
SENTENCES: dict[Language, tuple[str, ...]] = {
    "en": (
        "The harbour was quiet when the first boats came in.",
        "A small lamp stood on the window sill and nobody remembered who had bought it.",
        "Rain had washed the dust from the leaves of the old garden.",
        "They talked for a while about the weather and about the road to the hills.",
        "Somewhere behind the wall a clock struck the hour.",
        "The baker opened his shop earlier than usual on market days.",
        "Two children were drawing circles on the pavement with chalk.",
        "The letter had been folded so often that its edges were soft.",
        "In autumn the river carries leaves down to the mill.",
        "She counted the steps without noticing and forgot the number at once.",
        "Nothing of this has anything to do with the entries of the table.",
        "A train passed in the distance and then the valley was still again.",
    ),
    "zh": (
        "清晨的港口很安静，渔船刚刚靠岸。",
        "窗台上放着一盏小灯，谁也不记得是谁买的。",
        "雨水洗去了老花园里树叶上的灰尘。",
        "他们聊了一会儿天气，又谈到通往山里的小路。",
        "墙后某处传来了钟声。",
        "赶集的日子，面包师比平时更早开门。",
        "两个孩子用粉笔在人行道上画圆圈。",
        "这些话与表格中的条目毫无关系。",
        "秋天，河水把落叶带到磨坊边。",
        "远处驶过一列火车，山谷随后又安静下来。",
    ),
}


def paragraph(
    costs: TokenCosts, sentences: Sequence[str], num_tokens: float, joiner: str, generator: np.random.Generator
) -> str:
    """Sentences in random order that take up to `num_tokens` tokens together, none cut.

    Args:
        costs ([`TokenCosts`]):
            token counts of sentences, each tokenized once.
        sentences (`Sequence[str]`):
            what to choose from.
        num_tokens (`float`):
            room; an empty text when not even the shortest sentence fits.
        joiner (`str`):
            between sentences, a space or nothing.
        generator (`np.random.Generator`):
            chooses the order.
    """
    prices = costs.added([joiner + sentence for sentence in sentences], sentences[0][-1])
    chosen: list[str] = []
    room = num_tokens
    shortest = min(prices)
    while room >= shortest:
        for place in generator.permutation(len(sentences)).tolist():
            if prices[place] <= room:
                chosen.append(sentences[place])
                room -= prices[place]
    return joiner.join(chosen)


def words_of(sentences: Sequence[str], joiner: str) -> list[str]:
    """Units a text can grow by: words of spaced languages, characters of the others."""
    units = (unit for sentence in sentences for unit in (sentence.split() if joiner else sentence))
    return sorted({unit for unit in units if unit.isalpha()})


def put_between(text: str, around: tuple[str, str]) -> str:
    """Return a paragraph between the text before it and the text after it, which begins with its own blank line; an
    empty paragraph leaves nothing.
    """
    before, after = around
    return f"{before}\n\n{text}{after}" if text else before + after


def resize(
    costs: TokenCosts, text: str, change: int, words: Sequence[str], joiner: str, around: tuple[str, str]
) -> tuple[str, int]:
    """Make a paragraph `change` tokens longer (shorter if negative), as exactly as its words allow, never longer.

    Args:
        costs ([`TokenCosts`]):
            the tokenizer.
        text (`str`):
            the paragraph.
        change (`int`):
            wanted difference in tokens.
        words (`Sequence[str]`):
            words to add.
        joiner (`str`):
            between words.
        around (`tuple[str, str]`):
            text before and after, as far as tokens may reach across, see [`put_between`].

    Returns:
        `tuple[str, int]`: the new paragraph, and the difference reached. Only the paragraph and what is around it are
        tokenized.
    """
    units = text.split() if joiner else list(text)
    start = costs.count(put_between(text, around))
    prices = dict(
        zip(words, costs.added([joiner + word for word in words], words[0] if joiner else "\n"), strict=True)
    )
    cheap = sorted(words, key=prices.__getitem__)[: max(1, len(words) // 2)]
    reached, best = 0, (text, 0) if change >= 0 else ("", costs.count(put_between("", around)) - start)
    for step in range(8):
        missing = change - reached
        if missing == 0:
            break
        if missing < 0:
            units = units[: max(0, len(units) + missing)] if units else units
        else:
            units = units + _words_within(missing, cheap, prices, step)
        candidate = joiner.join(units)
        reached = costs.count(put_between(candidate, around)) - start
        if best[1] > change or best[1] < reached <= change:
            best = (candidate, reached)
        if not units and reached > change:
            break
    return best


def _words_within(room: int, words: Sequence[str], prices: dict[str, int], start: int) -> list[str]:
    """At least one word; further ones as long as their prices stay within `room`."""
    chosen = [words[start % len(words)]]
    room -= prices[chosen[0]]
    while room >= (price := prices[words[(start + len(chosen)) % len(words)]]) > 0:
        chosen.append(words[(start + len(chosen)) % len(words)])
        room -= price
    return chosen
