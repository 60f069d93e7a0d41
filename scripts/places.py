#!/usr/bin/env python3
"""Writes src/domain/plan/places.bin: which place a number's first digits belong to.

    pip install phonenumbers==9.0.43
    python3 scripts/places.py

The data is the geocoding table of the package, in English where it has English.
The file is one
zlib stream; inside it, numbers are LEB128 varints:

    bytes of names, then the names in UTF-8, each ended by a newline
    for each prefix length from 1 to 9:
        number of prefixes
        the prefixes in order, each as the distance from the one before
        their names: each as an index into the names, zigzag distance likewise
"""

import pathlib
import zlib

import phonenumbers
from phonenumbers.geodata import GEOCODE_DATA

VERSION = "9.0.43"
LENGTH_MAX = 9
OUTPUT = pathlib.Path(__file__).parent.parent / "src/domain/plan/places.bin"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    return value << 1 if value >= 0 else -value << 1 | 1


def encode(places: dict[str, str]) -> bytes:
    # Names are numbered as they first appear in number order, so that
    # neighbours have near indexes and the distances compress well.
    names: dict[str, int] = {}
    for prefix in sorted(places):
        names.setdefault(places[prefix], len(names))
    text = "".join(f"{name}\n" for name in names).encode()
    out = [varint(len(text)), text]
    for length in range(1, LENGTH_MAX + 1):
        prefixes = sorted(prefix for prefix in places if len(prefix) == length)
        out.append(varint(len(prefixes)))
        last = 0
        for prefix in prefixes:
            out.append(varint(int(prefix) - last))
            last = int(prefix)
        last = 0
        for prefix in prefixes:
            index = names[places[prefix]]
            out.append(varint(zigzag(index - last)))
            last = index
    return b"".join(out)


def in_english_area(prefix: str) -> bool:
    return any("en" in GEOCODE_DATA.get(prefix[:length], {}) for length in range(1, len(prefix)))


def main() -> None:
    if phonenumbers.__version__ != VERSION:
        raise SystemExit(f"phonenumbers {VERSION} is needed, not {phonenumbers.__version__}")
    # A few hundred prefixes have no English name. Within an area that has one
    # (3589 is Helsinki, 35891 is Helsingfors alone) that is the place; elsewhere
    # the local name is better than none.
    places = {
        prefix: names.get("en") or next(iter(names.values()))
        for prefix, names in GEOCODE_DATA.items()
        if "en" in names or not in_english_area(prefix)
    }
    assert max(map(len, places)) == LENGTH_MAX
    assert not any("\n" in name for name in places.values())
    packed = zlib.compress(encode(places), 9)
    OUTPUT.write_bytes(packed)
    print(f"{len(places)} prefixes, {len(set(places.values()))} names, {len(packed)} bytes")


if __name__ == "__main__":
    main()
