"""Makes values.json, the vectors of docs/formats/store.md, with nothing but Python's own libraries.

    python3 test/vectors/store/make.py [directory]
"""
import hashlib
import json
import os
import struct
import sys


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value, zero=False):
    return varint(field << 3) + varint(value) if value or zero else b""


def sized(field, value, empty=False):
    return varint(field << 3 | 2) + varint(len(value)) + value if value or empty else b""


def fixed64(field, value):
    return varint(field << 3 | 1) + struct.pack("<Q", value)


def cursor(c):
    out = number(1, c["next"], True)
    for at, count in c["whole"]:
        out += sized(2, number(1, at - c["next"], True) + number(2, count, True))
    for at, bits in c["partial"]:
        out += sized(3, number(1, at - c["next"], True) + sized(2, bytes.fromhex(bits), True))
    return out


def row(r):
    out = sized(1, r["tenant"].encode()) + sized(2, bytes.fromhex(r["traceId"]))
    for field, name in enumerate(["segment", "first", "count", "closed", "pack", "offset", "length", "at", "size"], 3):
        out += number(field, r[name])
    out += fixed64(12, int(r["start"])) + fixed64(13, int(r["end"])) + number(14, r["spans"])
    for service in r["services"]:
        out += sized(15, service.encode(), True)
    out += sized(16, r["name"].encode())
    for leaf in r["erasures"]:
        out += number(17, leaf)
    out += number(18, ["unknown", "intact", "broken"].index(r["continuity"]))
    for rule in r["rules"]:
        out += sized(19, rule.encode(), True)
    return out


def committed(r):
    out = sized(1, r["tenant"].encode()) + sized(2, bytes.fromhex(r["traceId"]))
    for field, name in enumerate(["segment", "first", "count", "closed"], 3):
        out += number(field, r[name])
    return out + number(14, r["spans"])


def commit_body(c):
    out = number(1, c["number"]) + sized(2, bytes.fromhex(c["previous"])) + number(3, c["first"]) + number(4, c["size"])
    out += sized(5, bytes.fromhex(c["root"])) + fixed64(6, int(c["time"])) + sized(7, bytes.fromhex(c["cursor"]))
    out += number(8, c["bytes"])
    for pack, end in c["packs"]:
        out += sized(9, number(1, pack) + number(2, end), True)
    for r in c["rows"]:
        out += sized(10, committed(r))
    return out + number(11, c["nextPack"])


def commit(c):
    body = commit_body(c)
    return body + hashlib.sha256(body).digest()


def change(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1 :]


FIRST = {
    "tenant": "", "traceId": "0102030405060708090a0b0c0d0e0f10", "segment": 0, "first": 0, "count": 3, "closed": 0,
    "pack": 0, "offset": 32, "length": 700, "at": 0, "size": 1300, "start": "1767323045000000000",
    "end": "1767323045100000000", "spans": 2, "services": ["checkout"], "name": "POST /orders",
    "erasures": [], "continuity": "intact", "rules": [],
}
LATER = {
    "tenant": "acme", "traceId": "ffffffffffffffffffffffffffffffff", "segment": 2, "first": 300, "count": 257, "closed": 1,
    "pack": 1, "offset": 4294967296, "length": 70000, "at": 1300, "size": 200000, "start": "1", "end": "18446744073709551615",
    "spans": 256, "services": ["gateway", "Zahlungsübersicht"], "name": "",
    "erasures": [557, 4294967296], "continuity": "broken", "rules": ["GC-A01", "GC-D02"],
}
GONE = {
    **FIRST, "pack": 0, "offset": 0, "length": 0, "size": 0, "services": [], "name": "", "erasures": [3],
}
RUN = {
    **GONE, "traceId": "", "first": 3, "count": 2, "offset": 732, "length": 300, "size": 280, "start": "0", "end": "0",
    "spans": 0, "erasures": [], "continuity": "unknown",
}
CURSORS = [
    {"next": 0, "whole": [], "partial": []},
    {"next": 5, "whole": [], "partial": []},
    {"next": 300, "whole": [[301, 2], [400, 1]], "partial": [[300, "05"], [350, "ff01"]]},
]
GENESIS = {
    "number": 0, "previous": "00" * 32, "first": 0, "size": 3, "root": "11" * 32, "time": "1767323046000000000",
    "cursor": hashlib.sha256(cursor(CURSORS[1])).hexdigest(), "bytes": 1234, "packs": [[0, 732]], "rows": [FIRST],
    "nextPack": 1,
}
NEXT = {
    "number": 1, "previous": hashlib.sha256(commit_body(GENESIS)).hexdigest(), "first": 3, "size": 5, "root": "11" * 32,
    "time": "1767323047000000000", "cursor": hashlib.sha256(cursor(CURSORS[2])).hexdigest(), "bytes": 60,
    "packs": [[0, 732], [7, 32]], "rows": [RUN], "nextPack": 9,
}

def reference(pack, offset, length):
    return b"\x00" + number(1, pack, True) + number(2, offset, True) + number(3, length, True)


def partial(width, hashes, entries):
    return bytes([width]) + hashes + b"".join(struct.pack(">H", len(e)) + e for e in entries)


def terms(rows):
    """The lists of rows, each with the rows of its trace before it: a value for each quarter of a second."""
    lists = {}
    for r, earlier in rows:
        start = int((earlier + [r])[0]["start"])
        names, traces = lists.setdefault(start >> 28, ([], []))
        known = [cut(s) for before in earlier for s in before["services"]]
        new = [cut(s) for s in r["services"] if cut(s) not in known]
        for name in new:
            if name not in names:
                names.append(name)
        if earlier and not new:
            continue
        traces.append(
            sized(1, r["tenant"].encode()) + sized(2, bytes.fromhex(r["traceId"])) + number(3, start % 2**28, True)
            + number(4, 0 if earlier else 1) + sized(5, b"".join(varint(names.index(name)) for name in new))
        )
    return [
        {
            "quarter": quarter,
            "services": [name.hex() for name in names],
            "hex": (b"".join(sized(1, n, True) for n in names) + b"".join(sized(2, t) for t in traces)).hex(),
        }
        for quarter, (names, traces) in lists.items()
        if traces
    ]


def cut(service):
    return service.encode()[:255]


TERM_ROWS = [
    [FIRST, []],
    [{**LATER, "services": ["gateway", "checkout"]}, [FIRST]],
    [{**LATER, "services": ["checkout"]}, [FIRST]],
    [{**LATER, "start": "18446744073709551615", "services": ["gateway", "\u00e4" * 200]}, []],
]
good_row = row(FIRST)
good_commit = commit(GENESIS)
values = {
    "cursors": [{"fields": c, "hex": cursor(c).hex()} for c in CURSORS],
    "rows": [{"fields": r, "hex": row(r).hex()} for r in (FIRST, LATER, GONE)],
    "commits": [
        {"fields": c, "hex": commit(c).hex(), "digest": hashlib.sha256(commit_body(c)).hexdigest()}
        for c in (GENESIS, NEXT)
    ],
    "bundles": [
        {"fields": {"pack": p, "offset": o, "length": n}, "hex": reference(p, o, n).hex()}
        for p, o, n in ((0, 32, 36000), (300, 2**32, 17_000_000))
    ]
    + [{"fields": {"width": 2, "hashes": "11" * 64, "entries": "0001aa0002bbcc"}, "hex": partial(2, b"\x11" * 64, [b"\xaa", b"\xbb\xcc"]).hex()}],
    "invalidBundles": [
        {"why": "nothing", "hex": ""},
        {"why": "a reference to nothing", "hex": "00"},
        {"why": "a reference without a length", "hex": reference(0, 32, 5)[:-2].hex()},
        {"why": "a reference with more behind it", "hex": (reference(0, 32, 5) + number(4, 1)).hex()},
        {"why": "fewer hashes than it says", "hex": "02" + "11" * 63},
        {"why": "hashes and no entries", "hex": "02" + "11" * 64 + "000000"},
    ],
    "terms": {
        "rows": [{"row": r, "earlier": earlier} for r, earlier in TERM_ROWS],
        "lists": terms(TERM_ROWS),
    },
    "invalidCursors": [
        {"why": "an unknown field", "hex": (cursor(CURSORS[1]) + number(4, 1)).hex()},
        {"why": "cut off in a run", "hex": cursor(CURSORS[2])[:-1].hex()},
        {"why": "a position over 53 bits", "hex": number(1, 2**60).hex()},
    ],
    "invalidRows": [
        {"why": "no trace id", "hex": row({**FIRST, "traceId": ""}).hex()},
        {"why": "a trace id of 15 bytes", "hex": row({**FIRST, "traceId": "01" * 15}).hex()},
        {"why": "no leaves", "hex": row({**FIRST, "count": 0}).hex()},
        {"why": "cut off in its continuity", "hex": good_row[:-1].hex()},
        {"why": "an unknown continuity", "hex": row({**FIRST, "continuity": "unknown"}).hex() + number(18, 3).hex()},
        {"why": "an unknown field", "hex": (good_row + number(20, 1)).hex()},
        {"why": "a service that is not UTF-8", "hex": good_row.replace(b"checkout", b"checkou\xff").hex()},
    ],
    "invalidCommits": [
        {"why": "nothing", "hex": ""},
        {"why": "shorter than a digest", "hex": good_commit[:31].hex()},
        {"why": "its first byte changed", "hex": change(good_commit, 0, 0x10).hex()},
        {"why": "a byte of the root changed", "hex": good_commit.replace(b"\x11" * 32, b"\x11" * 31 + b"\x10").hex()},
        {"why": "the last byte of the digest changed", "hex": change(good_commit, len(good_commit) - 1, good_commit[-1] ^ 1).hex()},
        {"why": "cut off", "hex": good_commit[:-1].hex()},
        {"why": "a byte more", "hex": (good_commit + b"\x00").hex()},
        {
            "why": "an unknown field, its digest right",
            "hex": (lambda body: body + hashlib.sha256(body).digest())(commit_body(GENESIS) + number(12, 1)).hex(),
        },
    ],
}
with open(os.path.join(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(__file__), "values.json"), "w") as out:
    json.dump(values, out, indent=2, ensure_ascii=False)
    out.write("\n")
