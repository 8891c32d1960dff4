"""Where facts stand among pieces of filler."""


def interleave(sizes: list[int], starts: list[float], fillers: list[int]) -> list[tuple[str, int]]:
    """Order facts and filler pieces so that each fact begins at the border nearest to where it should.

    Args:
        sizes (`list[int]`):
            Tokens of each fact.
        starts (`list[float]`):
            Token at which each fact should begin, ascending.
        fillers (`list[int]`):
            Tokens of each filler piece; all are used, in order.

    Returns:
        `list[tuple[str, int]]`: `("fact", index)` or `("filler", index)`, in order.
    """
    sequence: list[tuple[str, int]] = []
    position = used = 0
    for index, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        while used < len(fillers) and position + fillers[used] / 2 <= start:
            sequence.append(("filler", used))
            position += fillers[used]
            used += 1
        sequence.append(("fact", index))
        position += size
    return sequence + [("filler", index) for index in range(used, len(fillers))]
