#!/usr/bin/env python3
"""Writes the tables of the numbering plan into src/domain/plan: numbers.bin has
country, type and validity by digits, regions.bin how numbers are read and written.

    pip install phonenumbers==9.0.42
    python3 scripts/numbers.py

The version is the one of the metadata inside the crate rlibphonenumber that
Cargo.lock names for the tests, which hold the tables equal to the library.

The national-number patterns of each calling code become one automaton over the
digits of a number, which ends in the answer. It is built by subsets, from the
longest numbers back, so that equal nodes are found and kept once. Where a
national prefix may have to be taken off the number first, the answer says so.

numbers.bin is one zlib stream of 16-bit little-endian words:

    number of answers
    per answer: the two letters of the country or 0; the type as T, M or L, or as
        P or G for a mobile or local number of a place; and 1 if valid, or 0; 2 more
        if a prefix may have to be taken off, the rest being about the digits as they are
    number of nodes
    per node: the answer for a number that ends there, then for each digit what
        follows: n for the answer n, or number of answers + n for the node n

The first node is the start.

regions.bin is one zlib stream of lines of cells divided by tabs: for each region
its letters ("001" is the world), calling code, prefix for calls abroad, national
prefix, what the national prefix becomes, pattern of numbers, possible lengths, and
lengths possible within an area. The main region of a calling code is its first, and
has its formats in the lines after it: N (national) or I (international, where those
differ), pattern, first digits, the format, and the format without a prefix.
"""

import pathlib
import re
import struct
import zlib

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonenumberutil import _GEO_MOBILE_COUNTRIES

VERSION = "9.0.42"
# Shorter than any E.164 number, as what is left without a prefix may be.
DIGITS_MIN = 4
DIGITS_MAX = 15
OUTPUT = pathlib.Path(__file__).parent.parent / "src/domain/plan"

# The kinds that go before fixed line and mobile, in the library's order, and
# what they are here: toll-free, mobile, or local. Fixed lines are local numbers
# of a place, "G"; mobile numbers are of one, "P", in a few countries.
KINDS = [
    ("premium_rate", "L"),
    ("toll_free", "T"),
    ("shared_cost", "L"),
    ("voip", "L"),
    ("personal_number", "M"),
    ("pager", "M"),
    ("uan", "L"),
    ("voicemail", "L"),
]
INVALID = (0, "L", 0)
ANY_DIGIT = (1 << 10) - 1


class Automaton:
    """A nondeterministic automaton over digits, of many labelled patterns."""

    def __init__(self):
        self.moves = []  # Per state: (mask of digits, next state), or None.
        self.skips = []  # Per state: states reached without a digit.
        self.labels = {}  # State: what a number that ends there matches.
        self.closures = {}

    def state(self, move=None):
        self.moves.append(move)
        self.skips.append([])
        return len(self.moves) - 1

    def add(self, pattern, label, as_prefix=False):
        """Adds a pattern and returns its first state.

        With `as_prefix`, whatever follows the match is accepted too.
        """
        end = self.state()
        self.labels[end] = label
        exact_end = end
        if as_prefix:
            self.moves[end] = (ANY_DIGIT, end)
            exact_end = self.state()
            self.labels[exact_end] = label
        return self.alternatives(*parse(pattern), end, exact_end)

    # Builds backwards: given the state that follows, returns the first state.
    def alternatives(self, *args):
        *branches, end, exact_end = args
        first = self.state()
        for branch in branches:
            after = end
            for mask, low, high in reversed(branch):
                after = self.repeat(mask, low, high, after, exact_end)
            self.skips[first].append(after)
        return first

    def repeat(self, item, low, high, end, exact_end):
        after = end
        for count in range(high, 0, -1):
            before = self.one(item, after, exact_end)
            if count > low:
                optional = self.state()
                self.skips[optional] += [before, end]
                before = optional
            after = before
        return after

    def one(self, item, end, exact_end):
        if item == "$":
            return exact_end
        if isinstance(item, int):
            return self.state((item, end))
        return self.alternatives(*item, end, exact_end)

    def closure(self, state):
        """The states with a move or a label that need no digit from here."""
        if state not in self.closures:
            found, todo = {state}, [state]
            while todo:
                for other in self.skips[todo.pop()]:
                    if other not in found:
                        found.add(other)
                        todo.append(other)
            self.closures[state] = frozenset(
                s for s in found if self.moves[s] or s in self.labels
            )
        return self.closures[state]

    def step(self, states, digit):
        reached = [
            self.closure(self.moves[s][1])
            for s in states
            if self.moves[s] and self.moves[s][0] >> digit & 1
        ]
        return frozenset().union(*reached)


def parse(pattern):
    """A pattern as a list of alternatives, each a list of (item, low, high).

    An item is a mask of digits, a list of alternatives, or "$".
    """
    position = 0

    def alternatives():
        nonlocal position
        branches = [[]]
        while position < len(pattern) and pattern[position] != ")":
            if pattern[position] == "|":
                position += 1
                branches.append([])
            else:
                branches[-1].append(repeated(item()))
        return branches

    def item():
        nonlocal position
        start, position = pattern[position], position + 1
        if start == "(":
            if pattern.startswith("?:", position):
                position += 2
            group = alternatives()
            assert pattern[position] == ")"
            position += 1
            return group
        if start == "[":
            end = pattern.index("]", position)
            body, position = pattern[position:end], end + 1
            mask = 0
            for i, char in enumerate(body):
                if char == "-":
                    for digit in range(int(body[i - 1]), int(body[i + 1]) + 1):
                        mask |= 1 << digit
                else:
                    mask |= 1 << int(char)
            return mask
        if start == "\\":
            assert pattern[position] == "d"
            position += 1
            return ANY_DIGIT
        if start == "$":
            return "$"
        return 1 << int(start)

    def repeated(what):
        nonlocal position
        if pattern.startswith("?", position):
            position += 1
            return what, 0, 1
        if pattern.startswith("{", position):
            end = pattern.index("}", position)
            low, comma, high = pattern[position + 1 : end].partition(",")
            assert high or not comma, "a repeat without a limit"
            position = end + 1
            return what, int(low), int(high or low)
        return what, 1, 1

    branches = alternatives()
    assert position == len(pattern), pattern
    return branches


class CallingCode:
    """What the metadata says of the numbers of one calling code."""

    def __init__(self, code, regions):
        self.code = code
        self.regions = regions
        self.metadata = [
            PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            for region in regions
        ]
        self.automaton = Automaton()
        starts = []
        for index, metadata in enumerate(self.metadata):
            kinds = ["general_desc", "fixed_line", "mobile"] + [kind for kind, _ in KINDS]
            for kind in kinds:
                pattern = self.pattern(index, kind)
                if pattern:
                    starts.append(self.automaton.add(pattern, (index, kind)))
            if len(regions) > 1 and metadata.leading_digits:
                starts.append(
                    self.automaton.add(metadata.leading_digits, (index, "leading"), True)
                )
        # The library takes the national prefix of the first region.
        self.prefix = self.metadata[0].national_prefix_for_parsing
        strip = set()
        if self.prefix:
            state = self.automaton.add(self.prefix, "prefix", True)
            # An empty match takes nothing off.
            strip = {
                s
                for s in self.automaton.closure(state)
                if self.automaton.labels.get(s) != "prefix"
            }
        self.start = frozenset(strip).union(*map(self.automaton.closure, starts))
        self.general_lengths = lengths(parse(self.pattern(0, "general_desc")))

    def pattern(self, index, kind):
        desc = getattr(self.metadata[index], kind)
        return desc.national_number_pattern if desc else None

    def answer(self, states, length):
        labels = {self.automaton.labels[s] for s in states if s in self.automaton.labels}
        asks = "prefix" in labels and not self.keeps_prefix(labels, length)
        country, letter, valid = self.as_it_is(labels, length)
        return country, letter, valid + 2 * asks

    def as_it_is(self, labels, length):
        for index, region in enumerate(self.regions):
            kind = self.kind(labels, index, length)
            if kind or len(self.regions) == 1 or (index, "leading") in labels:
                country = 0 if region == "001" else region
                return country, kind or "L", 1 if kind else 0
        return INVALID

    def keeps_prefix(self, labels, length):
        """Whether the number is possible as it is and not without the prefix."""
        return (
            self.prefix.isdigit()
            and (0, "general_desc") in labels
            and length - len(self.prefix) not in self.general_lengths
        )

    def kind(self, labels, index, length):
        def matches(kind):
            desc = getattr(self.metadata[index], kind)
            # No lengths means those of the general description.
            fits = not desc.possible_length or length in desc.possible_length
            return fits and (index, kind) in labels

        if not matches("general_desc"):
            return None
        for kind, letter in KINDS:
            if getattr(self.metadata[index], kind) and matches(kind):
                return letter
        if self.metadata[index].fixed_line and matches("fixed_line"):
            return "G"
        if self.metadata[index].mobile and matches("mobile"):
            return "P" if self.code in _GEO_MOBILE_COUNTRIES else "M"
        return None


def lengths(branches):
    """How long the numbers that match can be."""
    total = set()
    for branch in branches:
        sums = {0}
        for item, low, high in branch:
            each = {1} if isinstance(item, int) else {0} if item == "$" else lengths(item)
            for count in range(high):
                longer = {a + b for a in sums for b in each}
                sums = sums | longer if count >= low else longer
        total |= sums
    return total


class Table:
    def __init__(self):
        self.answers = {INVALID: 0}
        self.nodes = {}  # (own answer, ten targets): index, as found.
        self.known = {}

    def answer(self, answer):
        return "answer", self.answers.setdefault(answer, len(self.answers))

    def node(self, own, targets):
        if all(target == own for target in targets):
            return own
        key = (own, targets)
        return "node", self.nodes.setdefault(key, len(self.nodes))

    def of_code(self, calling, code_digits):
        known = {}

        def visit(states, length):
            if (states, length) in known:
                return known[states, length]
            digits = code_digits + length
            steps = [calling.automaton.step(states, digit) for digit in range(10)]
            if digits == DIGITS_MAX:
                result = self.answer(calling.answer(states, length))
            else:
                targets = tuple(visit(step, length + 1) for step in steps)
                # No number is this short: whatever follows will do.
                own = (
                    targets[0]
                    if digits < DIGITS_MIN and targets[0][0] == "answer"
                    else self.answer(
                        INVALID if digits < DIGITS_MIN else calling.answer(states, length)
                    )
                )
                result = self.node(own, targets)
            known[states, length] = result
            return result

        return visit(calling.start, 0)

    def of_all(self, prefix=""):
        code = int(prefix or 0)
        if code in COUNTRY_CODE_TO_REGION_CODE:
            calling = CallingCode(code, COUNTRY_CODE_TO_REGION_CODE[code])
            return self.of_code(calling, len(prefix))
        invalid = self.answer(INVALID)
        if len(prefix) == 3:
            return invalid
        targets = [self.of_all(prefix + str(d)) if prefix or d else invalid for d in range(10)]
        return self.node(invalid, tuple(targets))

    def encode(self, root):
        # Nodes are found after what follows them: turned round, the start is first.
        count = len(self.nodes)
        assert root == ("node", count - 1)
        assert len(self.answers) + count <= 0x10000

        def word(target):
            where, index = target
            return index if where == "answer" else len(self.answers) + count - 1 - index

        words = [len(self.answers)]
        for country, letter, state in self.answers:
            letters = int.from_bytes(country.encode(), "little") if country else 0
            words += [letters, ord(letter), state]
        words.append(count)
        for own, targets in reversed(self.nodes):
            words += [word(own), *map(word, targets)]
        return struct.pack(f"<{len(words)}H", *words)


def groups(template):
    """A replacement with the groups as Rust writes them."""
    return re.sub(r"\\(\d)", r"${\1}", template or "")


def formats(metadata):
    """The lines of the formats of a region."""
    kinds = [("N", metadata.number_format), ("I", metadata.intl_number_format)]
    for kind, all_formats in kinds:
        for one in all_formats:
            template = one.format
            if kind == "N" and one.national_prefix_formatting_rule:
                rule = one.national_prefix_formatting_rule
                template = re.sub(r"(\\\d)", rule, template, count=1)
            first = one.leading_digits_pattern[-1] if one.leading_digits_pattern else ""
            # The international format of a number is without the prefix.
            yield kind, one.pattern, first, groups(template), groups(one.format)


def regions():
    for code, names in sorted(COUNTRY_CODE_TO_REGION_CODE.items()):
        for name in names:
            metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, name)
            desc = metadata.general_desc
            yield (
                name,
                str(code),
                metadata.international_prefix or "",
                metadata.national_prefix_for_parsing or "",
                groups(metadata.national_prefix_transform_rule),
                desc.national_number_pattern,
                ",".join(map(str, desc.possible_length)),
                ",".join(map(str, desc.possible_length_local_only)),
            )
            if name == names[0]:
                yield from formats(metadata)


def write(name, content):
    packed = zlib.compress(content, 9)
    (OUTPUT / name).write_bytes(packed)
    print(f"{name}: {len(packed)} bytes")


def main():
    if phonenumbers.__version__ != VERSION:
        raise SystemExit(f"phonenumbers {VERSION} is needed, not {phonenumbers.__version__}")
    table = Table()
    root = table.of_all()
    print(f"{len(table.answers)} answers, {len(table.nodes)} nodes")
    write("numbers.bin", table.encode(root))
    write("regions.bin", "".join("\t".join(line) + "\n" for line in regions()).encode())


if __name__ == "__main__":
    main()
