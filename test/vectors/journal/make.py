"""Makes journal.json, the vectors of docs/formats/journal.md, with nothing but Python's own libraries.

    python3 test/vectors/journal/make.py [directory]
"""
import json
import os
import struct
import sys
import zlib

TAG = bytes(range(0xA0, 0xA8))
OTHER_TAG = bytes(range(0xB0, 0xB8))
SEED = bytes(range(32))
BASE = 2**33


def header(first, tag=TAG, magic=b"RSjs", version=0, zeros=b"\0\0\0", more=b"\0\0\0\0", crc=None):
    head = magic + bytes([version]) + zeros + tag + struct.pack(">Q", first) + more
    return head + struct.pack(">I", zlib.crc32(head) if crc is None else crc)


def frame(
    position, durable=None, *, kind=1, seed=SEED, receipt=b"\n\totlp/grpc", body=b"abc", tag=TAG, magic=b"RSjf",
    version=0, head_length=80, receipt_length=None, body_length=None, payload_crc=None, crc=None,
):
    head = magic + bytes([version, kind]) + struct.pack(">H", head_length) + tag
    head += struct.pack(">QQ", position, position if durable is None else durable) + seed
    head += struct.pack(">II", len(receipt) if receipt_length is None else receipt_length, len(body) if body_length is None else body_length)
    head += struct.pack(">I", zlib.crc32(receipt + body) if payload_crc is None else payload_crc)
    return head + struct.pack(">I", zlib.crc32(head) if crc is None else crc) + receipt + body


def closing(position, **more):
    return frame(position, **{"kind": 2, "seed": bytes(32), "receipt": b"", "body": b"", "payload_crc": 0, **more})


def change(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def name(first):
    return "%016d.journal" % first


def journal(what, files, committed=0, **result):
    return {"name": what, "committed": committed, "files": {name: data.hex() for name, data in files.items()}, **result}


def corrupt(file, offset, reason):
    return {"corrupt": {"file": file, "offset": offset, "reason": reason}}


CLASH = "frame has the position of another one"
FIELDS = "frame header fields"
VERSION = "has a format version this program does not know"
KNOWN = ", in a frame known to have been durable"

HEAD = header(0)
GROUP = frame(0, 0) + frame(1, 0, body=b"")
LAST = frame(2, 2)
END = len(HEAD + GROUP)
ONE = name(0)
# What somebody sends who knows the format but not the tag: a frame that says that everything was durable.
PLANTED = frame(2, 2, body=frame(3, 3, tag=OTHER_TAG))

vectors = {
    "tag": TAG.hex(),
    "headers": {
        "valid": [{"name": "first position %d" % first, "hex": header(first).hex(), "first": first} for first in (0, BASE + 7, 2**53 - 1)],
        "invalid": [
            {"name": what, "hex": data.hex(), "reason": reason}
            for what, data, reason in (
                ("nothing", b"", "segment header is cut short"),
                ("cut off", HEAD[:-1], "segment header is cut short"),
                ("a byte changed", change(HEAD, 9), "segment header checksum"),
                ("another checksum", header(0, crc=0), "segment header checksum"),
                ("another file", header(0, magic=b"RSpk"), "not a journal segment"),
                ("version 1", header(0, version=1), "segment " + VERSION),
                ("a byte after the version", header(0, zeros=b"\0\0\1"), "segment header fields"),
                ("bytes after the position", header(0, more=b"\0\0\0\1"), "segment header fields"),
                ("a position of 54 bits", header(2**53), "segment header fields"),
            )
        ],
    },
    "frames": {
        "valid": [
            {
                "name": what, "hex": data.hex(), "kind": kind, "position": position, "durable": durable,
                "seed": seed.hex(), "receipt": receipt.hex(), "body": body.hex(),
            }
            for what, data, kind, position, durable, seed, receipt, body in (
                ("a request", frame(BASE + 9, BASE + 8), 1, BASE + 9, BASE + 8, SEED, b"\n\totlp/grpc", b"abc"),
                ("the first of its group", frame(7), 1, 7, 7, SEED, b"\n\totlp/grpc", b"abc"),
                ("an empty request", frame(0, receipt=b"", body=b""), 1, 0, 0, SEED, b"", b""),
                ("the last position", frame(2**53 - 1, 0), 1, 2**53 - 1, 0, SEED, b"\n\totlp/grpc", b"abc"),
                ("a closing", closing(BASE + 10), 2, BASE + 10, BASE + 10, bytes(32), b"", b""),
            )
        ],
        "invalid": [
            {"name": what, "hex": data.hex(), "reason": reason}
            for what, data, reason in (
                ("another magic", frame(5, magic=b"RSpb"), "no frame here"),
                ("a byte of the header changed", change(frame(5), 40), "frame header checksum"),
                ("another checksum of the header", frame(5, crc=1), "frame header checksum"),
                ("version 1", frame(5, version=1), "frame " + VERSION),
                ("the tag of another segment", frame(5, tag=OTHER_TAG), "frame of another segment"),
                ("kind 0", frame(5, kind=0), FIELDS),
                ("kind 3", frame(5, kind=3), FIELDS),
                ("a header of 84 bytes", frame(5, head_length=84), FIELDS),
                ("a position of 54 bits", frame(2**53, 0), FIELDS),
                ("durable of 54 bits", frame(2**53 - 1, 2**53), FIELDS),
                ("durable above its own position", frame(5, 6), FIELDS),
                ("a receipt of 65,537 bytes", frame(5, receipt_length=65_537), FIELDS),
                ("a body of 268,435,457 bytes", frame(5, body_length=268_435_457), FIELDS),
                ("a byte of the receipt changed", change(frame(5), 81), "frame payload checksum"),
                ("a byte of the body changed", change(frame(5), 92), "frame payload checksum"),
                ("the checksum of another body", frame(5, payload_crc=zlib.crc32(b"\n\totlp/grpcabd")), "frame payload checksum"),
                ("a closing with durable below", closing(5, durable=4), FIELDS),
                ("a closing with a seed", closing(5, seed=SEED), FIELDS),
                ("a closing with a receipt", closing(5, receipt=b"x"), FIELDS),
                ("a closing with a body", closing(5, body=b"x"), FIELDS),
                ("a closing with a checksum", closing(5, payload_crc=1), FIELDS),
            )
        ],
    },
    "journals": [
        journal("empty", {ONE: HEAD}, end=0),
        journal("two groups", {ONE: HEAD + GROUP + LAST}, committed=3, end=3),
        journal("two groups and a clean shutdown", {ONE: HEAD + GROUP + LAST + closing(3)}, end=3),
        journal("goes on after a clean shutdown", {ONE: HEAD + GROUP + closing(2) + LAST}, end=3),
        journal("two segments", {ONE: HEAD + GROUP, name(2): header(2) + LAST}, end=3),
        journal("a second segment that is empty", {ONE: HEAD + GROUP, name(2): header(2)}, committed=2, end=2),
        journal("the front was removed", {name(2): header(2) + LAST}, committed=2, end=3),
        journal("other names", {ONE: HEAD + GROUP, "journal.txt": b"x", "1.journal": b"x"}, end=2),
        journal("a torn tail: part of a header", {ONE: HEAD + GROUP + LAST[:79]}, end=2, cut=79),
        journal("a torn tail: part of a body", {ONE: HEAD + GROUP + LAST[:-1]}, end=2, cut=len(LAST) - 1),
        journal("a torn tail: a changed body", {ONE: HEAD + GROUP + change(LAST, 92)}, end=2, cut=len(LAST)),
        journal("a torn tail: the second frame of a group", {ONE: HEAD + change(GROUP, len(frame(0)) + 20)}, committed=1, end=1, cut=len(frame(1, 0, body=b""))),
        journal("a torn tail: noise", {ONE: HEAD + GROUP + bytes(200)}, end=2, cut=200),
        journal("a torn tail: a position left out", {ONE: HEAD + GROUP + frame(3, 2)}, end=2, cut=len(LAST)),
        journal("a torn tail whose body holds a frame of another tag", {ONE: HEAD + GROUP + change(PLANTED, 20)}, end=2, cut=len(PLANTED)),
        journal("a last segment that was being made", {ONE: HEAD + GROUP, name(2): header(2)[:20]}, end=2),
        journal("a last segment of zeros that was being made", {ONE: HEAD + GROUP, name(2): bytes(32)}, end=2),
        journal("nothing, and something was committed", {}, 1, **corrupt("", 0, "all segments are missing")),
        journal("a segment is missing", {ONE: HEAD + GROUP, name(3): header(3)}, **corrupt(name(3), 0, "a segment before this one is missing")),
        journal("a first segment that overlaps the next", {ONE: HEAD + GROUP, name(1): header(1) + LAST}, **corrupt(name(1), 0, "a segment before this one is missing")),
        journal("the front is missing", {name(2): header(2) + LAST}, 1, **corrupt(name(2), 0, "frames that were not committed are missing before this segment")),
        journal("under the name of another segment", {name(2): HEAD + GROUP}, 2, **corrupt(name(2), 0, "segment has the name of another one")),
        journal("the first segment cut short", {ONE: (HEAD + GROUP)[:-1], name(2): header(2)}, **corrupt(ONE, len(HEAD + frame(0)), "frame is cut short")),
        journal("a changed body in a segment before the last", {ONE: HEAD + change(GROUP, 92), name(2): header(2)}, **corrupt(ONE, 32, "frame payload checksum")),
        journal("the header of a segment before the last", {ONE: change(HEAD, 30) + GROUP, name(2): header(2)}, **corrupt(ONE, 0, "segment header checksum")),
        journal("the header of the last segment, frames behind it", {ONE: change(HEAD, 30) + GROUP}, **corrupt(ONE, 0, "segment header checksum")),
        journal("committed frames are cut off", {ONE: HEAD + GROUP}, 3, **corrupt(ONE, END, "committed frames are missing")),
        journal("a committed frame is changed", {ONE: HEAD + GROUP + change(LAST, 92)}, 3, **corrupt(ONE, END, "frame payload checksum")),
        journal("a frame that a later group says was durable", {ONE: HEAD + change(GROUP, 92) + LAST}, **corrupt(ONE, 32, "frame payload checksum" + KNOWN)),
        journal("a header that a later group says was durable", {ONE: HEAD + change(GROUP, 20) + LAST}, **corrupt(ONE, 32, "frame header checksum" + KNOWN)),
        journal("a frame before the mark of a clean shutdown", {ONE: HEAD + GROUP + change(LAST, 92) + closing(3)}, **corrupt(ONE, END, "frame payload checksum" + KNOWN)),
        journal("a position left out, by a group that says it was durable", {ONE: HEAD + GROUP + frame(3)}, **corrupt(ONE, END, CLASH + KNOWN)),
    ],
}
directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(__file__)
with open(os.path.join(directory, "journal.json"), "w") as out:
    json.dump(vectors, out, indent=1)
    out.write("\n")
