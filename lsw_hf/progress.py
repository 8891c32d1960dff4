"""One progress bar for everything that takes long: on standard error, and only where that is a terminal."""

from typing import Any

from tqdm.auto import tqdm

_SHARE = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_COUNT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}, {elapsed}<{remaining}{postfix}"


def progress_bar(total: float, description: str, *, unit: str = "", initial: float = 0, show: bool = True) -> Any:
    """Return a bar that is updated and closed like any of tqdm's.

    Args:
        total (`float`):
            Amount of work at the end.
        description (`str`):
            Text in front of the bar.
        unit (`str`, *optional*, defaults to `""`):
            What is counted, in the plural. Without one, the amounts are not shown: they are estimates of work.
        initial (`float`, *optional*, defaults to 0):
            Amount of work that an earlier run did.
        show (`bool`, *optional*, defaults to `True`):
            Whether to draw it where standard error is a terminal; `False` draws nothing anywhere.
    """
    layout = _COUNT if unit else _SHARE
    disable = None if show else True
    return tqdm(total=total, desc=description, unit=unit, initial=initial, bar_format=layout, disable=disable)
