"""Answers questions from their text and the parsed table alone. Shares nothing with the generator but the templates,
which serve as patterns for reading the slots back."""

import re
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

from lsw_hf.data.tables.questions.templates import TEMPLATES

CONDITIONS = {
    "en": (
        (r"(?P<column>.+) is greater than (?P<value>.+)", "above"),
        (r"(?P<column>.+) is less than (?P<value>.+)", "below"),
        (r"(?P<column>.+) is later than (?P<value>.+)", "above"),
        (r"(?P<column>.+) is earlier than (?P<value>.+)", "below"),
        (r"(?P<column>.+) is (?P<value>.+)", "is"),
    ),
    "zh": (
        (r"(?P<column>.+)大于(?P<value>.+)", "above"),
        (r"(?P<column>.+)小于(?P<value>.+)", "below"),
        (r"(?P<column>.+)晚于(?P<value>.+)", "above"),
        (r"(?P<column>.+)早于(?P<value>.+)", "below"),
        (r"(?P<column>.+)为(?P<value>.+)", "is"),
    ),
}
ORDER_WORDS = {
    "en": {"up": "ascending", "down": "descending", "none": "neither"},
    "zh": {"up": "升序", "down": "降序", "none": "都不是"},
}
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def pattern(template, headers):
    """A template as a pattern; slots that hold headers match headers only, so that texts split in one way."""
    names = "|".join(sorted(map(re.escape, headers), key=len, reverse=True))
    parts = re.split(r"\{(\w+)\}", template)
    out, seen = [], set()
    for place, part in enumerate(parts):
        if place % 2 == 0:
            out.append(re.escape(part))
        elif part in seen:
            out.append(f"(?P={part})")
        else:
            seen.add(part)
            header = part in ("column", "key_column", "first", "second", "link")
            out.append(f"(?P<{part}>{names if header else '.+'})")
    return re.compile("".join(out), re.DOTALL)


def comparable(text):
    return text if DATE.fullmatch(text) else Decimal(text)


class Solver:
    """One parsed table (and the second one, for joins), and how questions about it are answered."""

    def __init__(self, headers, rows, language, second=None):
        self.headers, self.rows, self.language, self.second = headers, rows, language, second
        self.key = headers[0]

    def evidence(self, kind, template, question):
        """
        Places of the rows that a question is about, from its text alone, in order; and those of the second table.
        """
        asked, _ = TEMPLATES[self.language][kind][template]
        headers = self.headers + (self.second.headers if self.second else [])
        s = pattern(asked, headers).fullmatch(question).groupdict()
        keys = s["keys"].split("、" if self.language == "zh" else "; ") if "keys" in s else []
        keys += [s[name] for name in ("key", "other") if name in s and kind != "absent"]
        rows = [self.row(key) for key in keys]
        if "given" in s:
            rows = [row for row, cell in zip(self.rows, self.column(s["column"]), strict=True) if cell == s["given"]]
        if "first" in s:
            wanted = ((s["first"], s["first_value"]), (s["second"], s["second_value"]))
            rows = [row for row in self.rows if all(row[self.headers.index(name)] == cell for name, cell in wanted)]
        if kind == "ordinal":
            rows = [self.rows[int(s["number"]) - 1]]
        if kind in ("filter_sum", "list_all"):
            rows = self.selected(s["condition"])
        if kind in ("extreme", "top_k"):
            smallest = s.get("extreme") in ("smallest", "earliest", "最小", "最早")
            ranked = sorted(zip(map(comparable, self.column(s["column"])), self.rows, strict=True), key=lambda p: p[0])
            rows = [row for _, row in (ranked if smallest else ranked[::-1])][: int(s.get("number", 1))]
        places = [self.rows.index(row) for row in rows]
        places += [place + 1 for place in places] if kind == "neighbor" else []
        hops = [self.second.rows.index(self.second.row(self.cell(s["key"], s["link"])))] if kind == "join" else []
        return sorted(places), hops

    def column(self, name):
        return [row[self.headers.index(name)] for row in self.rows]

    def row(self, key):
        found = [row for row in self.rows if row[0] == key]
        assert len(found) == 1, f"{key} stands {len(found)} times"
        return found[0]

    def cell(self, key, column):
        return self.row(key)[self.headers.index(column)]

    def selected(self, condition):
        for text, relation in CONDITIONS[self.language]:
            names = "|".join(map(re.escape, self.headers))
            match = re.fullmatch(text.replace("(?P<column>.+)", f"(?P<column>{names})"), condition)
            if match is None:
                continue
            value, cells = match["value"], self.column(match["column"])
            if relation == "is":
                return [row for row, cell in zip(self.rows, cells, strict=True) if cell == value]
            limit = comparable(value)
            sign = 1 if relation == "above" else -1
            return [
                row
                for row, cell in zip(self.rows, cells, strict=True)
                if (comparable(cell) > limit) - (comparable(cell) < limit) == sign
            ]
        raise AssertionError(f"unreadable condition {condition!r}")

    def numbers(self, rows, column):
        return [Decimal(row[self.headers.index(column)]) for row in rows]

    def answer(self, kind, template, question, answer):
        """The right answer, and the given one reduced to the same form."""
        asked, answered = TEMPLATES[self.language][kind][template]
        headers = self.headers + (self.second.headers if self.second else [])
        slots = pattern(asked, headers).fullmatch(question)
        assert slots is not None, f"unreadable question {question!r}"
        given = pattern(answered, headers).fullmatch(answer)
        assert given is not None, f"unreadable answer {answer!r}"
        return getattr(self, f"_{kind}")(slots.groupdict(), given.groupdict())

    def _cell(self, s, given):
        return self.cell(s["key"], s["column"]), given["value"]

    def _row(self, s, given):
        colon, comma = ("：", "，") if self.language == "zh" else (": ", ", ")
        cells = zip(self.headers[1:], self.row(s["key"])[1:], strict=True)
        return comma.join(name + colon + cell for name, cell in cells), given["value"]

    def _reverse(self, s, given):
        found = [row[0] for row, cell in zip(self.rows, self.column(s["column"]), strict=True) if cell == s["given"]]
        return found, [given["value"]]

    def _composite(self, s, given):
        first, second = self.headers.index(s["first"]), self.headers.index(s["second"])
        found = [row for row in self.rows if row[first] == s["first_value"] and row[second] == s["second_value"]]
        return [row[self.headers.index(s["column"])] for row in found], [given["value"]]

    def _ordinal(self, s, given):
        return self.rows[int(s["number"]) - 1][self.headers.index(s["column"])], given["value"]

    def _multi(self, s, given):
        keys = s["keys"].split("、" if self.language == "zh" else "; ")
        colon = "：" if self.language == "zh" else ": "
        return "\n".join(key + colon + self.cell(key, s["column"]) for key in keys), given["value"]

    def _absent(self, s, given):
        return [s["key"], 0], [given["key"], sum(row[0] == s["key"] for row in self.rows)]

    def _neighbor(self, s, given):
        place = self.rows.index(self.row(s["key"]))
        return self.rows[place + 1][self.headers.index(s["column"])], given["value"]

    def _join(self, s, given):
        hop = self.cell(s["key"], s["link"])
        right = self.second.cell(hop, s["column"])
        assert hop in given["steps"]
        assert right in given["steps"]
        return right, given["value"]

    def _compare(self, s, given):
        values = {key: comparable(self.cell(key, s["column"])) for key in (s["key"], s["other"])}
        assert all(self.cell(key, s["column"]) in given["steps"] for key in values)
        return max(values, key=values.__getitem__), given["value"]

    def _sum_of(self, rows, column, given):
        total = str(sum(self.numbers(rows, column)))
        assert given["steps"].count("\n") + 1 == len(rows)
        for row, line in zip(rows, given["steps"].split("\n"), strict=True):
            assert row[0] in line
            assert row[self.headers.index(column)] in line
        assert eval_sum(given["sum"]) == total
        return total, given["value"]

    def _filter_sum(self, s, given):
        return self._sum_of(self.selected(s["condition"]), s["column"], given)

    def _add_rows(self, s, given):
        keys = s["keys"].split("、" if self.language == "zh" else "; ")
        return self._sum_of([self.row(key) for key in keys], s["column"], given)

    def _count(self, s, given):
        return str(len(self.selected(s["condition"]))), given["value"]

    def _sum(self, s, given):
        return str(sum(self.numbers(self.selected(s["condition"]), s["column"]))), given["value"]

    def _mean(self, s, given):
        numbers = self.numbers(self.selected(s["condition"]), s["column"])
        mean = (sum(numbers) / len(numbers)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
        return str(mean), given["value"]

    def _extreme(self, s, given):
        choose = min if s["extreme"] in ("smallest", "earliest", "最小", "最早") else max
        cells = self.column(s["column"])
        best = choose(cells, key=comparable)
        return ([best], [self.rows[cells.index(best)][0]], 1), ([given["value"]], [given["key"]], cells.count(best))

    def _top_k(self, s, given):
        place = self.headers.index(s["column"])
        ranked = sorted(self.rows, key=lambda row: comparable(row[place]), reverse=True)[: int(s["number"])]
        return ("、" if self.language == "zh" else "; ").join(row[0] for row in ranked), given["value"]

    def _most_frequent(self, s, given):
        (value, times), *rest = Counter(self.column(s["column"])).most_common(2)
        assert not rest or rest[0][1] < times
        return (value, str(times)), (given["value"], given["times"])

    def _duplicates(self, s, given):
        return str(sum(times > 1 for times in Counter(self.column(s["column"])).values())), given["value"]

    def _distinct(self, s, given):
        return str(len(set(self.column(s["column"])))), given["value"]

    def _monotone(self, s, given):
        values = [comparable(cell) for cell in self.column(s["column"])]
        order = "up" if values == sorted(values) else "down" if values == sorted(values, reverse=True) else "none"
        return ORDER_WORDS[self.language][order], given["value"]

    def _list_all(self, s, given):
        return "\n".join(row[0] for row in self.selected(s["condition"])), given["value"]


def eval_sum(text):
    """The right side of `a + b = c`, after checking it against the left one."""
    terms, total = text.split(" = ")
    assert sum(map(Decimal, terms.split(" + "))) == Decimal(total)
    return total
