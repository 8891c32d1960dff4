"""The arithmetic of one chunk-interleaved window: who gets how much room, where documents are cut, in which order the
chunks come. Plain integers in, plain integers out.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal

Split = Literal["random", "equal"]


def share_window(lengths: Sequence[int], window_length: int) -> list[int]:
    """Share a window among documents: short ones enter whole, the long ones get equal shares of the rest.

    Args:
        lengths (`Sequence[int]`):
            Tokens each document has left, all at least 1 and together at least `window_length`.
        window_length (`int`):
            Tokens to hand out, at least `len(lengths)`.

    Returns:
        `list[int]`: tokens each document contributes; they sum to `window_length` exactly.

    Our choice: the paper does not say how documents are fitted into a window. Cutting every document to
    `window_length / documents` would waste the room that short documents leave.
    """
    waiting = len(lengths)
    equal, more = divmod(window_length, waiting)
    if min(lengths) > equal:
        return [equal] * (waiting - more) + [equal + 1] * more
    shares = [0] * waiting
    room = window_length
    by_length = sorted(range(waiting), key=lengths.__getitem__)
    for place, index in enumerate(by_length):
        share = room // waiting
        if lengths[index] > share:
            # Neither this document nor a longer one ends here: they share what is left, token by token.
            for other in by_length[place : place + waiting - room % waiting]:
                shares[other] = share
            for other in by_length[len(by_length) - room % waiting :]:
                shares[other] = share + 1
            break
        shares[index] = lengths[index]
        room -= lengths[index]
        waiting -= 1
    return shares


def cut_points(length: int, num_chunks: int, split: Split, random: Random) -> list[int]:
    """Cuts `range(length)` into consecutive chunks, none of them empty.

    Args:
        length (`int`):
            Tokens of the document in this window, at least 1.
        num_chunks (`int`):
            Chunks wanted; a document of fewer tokens is cut into single tokens.
        split (`str`):
            `"equal"`: lengths differ by at most one token. `"random"`: distinct uniform cut points.
        random (`random.Random`):
            Source of the cut points, unused for `"equal"`.

    Returns:
        `list[int]`: borders, from 0 to `length`, one more than there are chunks.
    """
    num_chunks = min(num_chunks, length)
    if num_chunks == 1:
        return [0, length]
    if split == "equal":
        return [length * chunk // num_chunks for chunk in range(num_chunks + 1)]
    if num_chunks == 2:
        return [0, 1 + int(random.random() * (length - 1)), length]
    if 2 * num_chunks >= length:
        return [0, *sorted(random.sample(range(1, length), num_chunks - 1)), length]
    cuts: set[int] = set()
    while len(cuts) < num_chunks - 1:
        cuts.add(1 + int(random.random() * (length - 1)))
    return [0, *sorted(cuts), length]


def cut_documents(
    lengths: Sequence[int], chunk_counts: Sequence[int], weights: Sequence[float], split: Split, random: Random
) -> list[Sequence[int]]:
    """Cuts all documents of a window by [`cut_points`].

    Args:
        lengths (`Sequence[int]`):
            Tokens each document has in this window.
        chunk_counts, weights (`Sequence`):
            Numbers of chunks, and how probable each of them is for a document.
        split, random:
            As for [`cut_points`].

    Returns:
        `list[Sequence[int]]`: borders of every document.
    """
    if len(chunk_counts) > 1:
        return [cut_points(length, random.choices(chunk_counts, weights)[0], split, random) for length in lengths]
    if chunk_counts[0] == 2 and split == "random" and min(lengths) > 1:
        # The usual case, in one pass: windows are made as fast as memory is copied.
        draw = random.random
        return [(0, 1 + int(draw() * (length - 1)), length) for length in lengths]
    return [cut_points(length, chunk_counts[0], split, random) for length in lengths]


def chunk_order(
    borders: Sequence[Sequence[int]], shuffle: Callable[[list[int]], None] | None = None
) -> list[tuple[int, int, int]]:
    """Orders chunks round by round: the first chunk of every document, then the second of every document, and so on.

    ```text
    documents   A = a1 a2 a3    B = b1 b2    C = c1 c2 c3
    round       1          2          3
    window      a1 b1 c1   a2 b2 c2   a3 c3
    ```

    Args:
        borders (`Sequence[Sequence[int]]`):
            Per document, the borders returned by [`cut_points`].
        shuffle (`Callable`, *optional*):
            Reorders a list of document numbers in place, called once a round. By default the order is the same in
            every round, as in the paper.

    Returns:
        `list[tuple[int, int, int]]`: `(document, start, stop)` of each chunk, in window order. A document with fewer
        chunks than the others drops out of the later rounds.
    """
    order: list[tuple[int, int, int]] = []
    sizes = set(map(len, borders))
    rounds = max(sizes) - 1
    if shuffle is None and len(sizes) == 1:
        for chunk, end in enumerate(range(1, rounds + 1)):
            order += [(document, cuts[chunk], cuts[end]) for document, cuts in enumerate(borders)]
        return order
    for chunk in range(rounds):
        present = [document for document, cuts in enumerate(borders) if chunk + 1 < len(cuts)]
        if shuffle is not None:
            shuffle(present)
        order.extend((document, borders[document][chunk], borders[document][chunk + 1]) for document in present)
    return order
