"""Makes pack.json, the vectors of docs/formats/pack.md, with nothing but Python's own libraries.

    python3 test/vectors/pack/make.py [directory]

The zstd frames are put together by hand after RFC 8878.
"""
import json
import os
import struct
import sys
import zlib

RAW_BLOCK, RLE_BLOCK = 0, 1
# Above this no block is read.
LIMIT = 268_435_456


def header(pack, magic=b"RSpk", version=0, zeros=b"\0\0\0", more=bytes(12), crc=None):
    head = magic + bytes([version]) + zeros + struct.pack(">Q", pack) + more
    return head + struct.pack(">I", zlib.crc32(head) if crc is None else crc)


def block(raw_length, stored, magic=b"RSpb", version=0, zeros=b"\0\0\0", length=None, crc=None):
    head = magic + bytes([version]) + zeros + struct.pack(">II", raw_length, len(stored) if length is None else length)
    return head + struct.pack(">I", zlib.crc32(head + stored) if crc is None else crc) + stored


def zstd(size, *blocks, descriptor=b"\x20", dictionary=b""):
    """A frame of one segment, that says `size`; each block is its type, its size and what is stored of it."""
    out = b"\x28\xb5\x2f\xfd" + descriptor + dictionary + bytes([size])
    for at, (kind, length, stored) in enumerate(blocks):
        last = at == len(blocks) - 1
        out += struct.pack("<I", length << 3 | kind << 1 | last)[:3] + stored
    return out


def change(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def refused(what, stored, reason, length=None, offset=32, file="default-20261122-0258.pack", head=header(258)):
    """A reference into a pack: by default to all that is behind its header."""
    ref = {"offset": offset, "length": len(stored) if length is None else length}
    return {"name": what, "file": file, "hex": (head + stored).hex(), "ref": ref, "reason": reason}


ABC = b"abc"
AS_IT_IS = block(3, ABC)
FRAMED = block(3, zstd(3, (RAW_BLOCK, 3, ABC)))
SHORT = block(200, zstd(200, (RLE_BLOCK, 200, b"a")))
TWICE = block(203, zstd(203, (RAW_BLOCK, 3, ABC), (RLE_BLOCK, 200, b"a")))
EMPTY = block(0, b"")
VOID = block(0, bytes(30))
FORM = "block has a format version this program does not know"
BAD = "block does not inflate"

vectors = {
    # Names of files, and the ids of those that are packs.
    "names": {
        "valid": [
            {"name": "default-20261122-0000.pack", "id": 0},
            {"name": "records-20261122-0001.pack", "id": 1},
            {"name": "a-00000000-9999.pack", "id": 9999},
            {"name": "c2-20261122-10000.pack", "id": 10_000},
            {"name": "a" * 32 + "-20261122-123456789012.pack", "id": 123_456_789_012},
        ],
        "invalid": [
            "default-20261122-2.pack",
            "default-20261122-00003.pack",
            "default-20261122-1234567890123.pack",
            "default-2026112-0004.pack",
            "default-0005.pack",
            "-20261122-0006.pack",
            "2c-20261122-0007.pack",
            "Default-20261122-0008.pack",
            "de_fault-20261122-0009.pack",
            "a" * 33 + "-20261122-0010.pack",
            "default-20261122-0011.pack.tmp",
            "default-20261122--012.pack",
        ],
    },
    "packs": {
        "valid": [
            {"name": what, "file": file, "id": pack, "hex": (header(pack) + b"".join(part for part, _ in parts)).hex(), "raw": [raw.hex() for _, raw in parts]}
            for what, file, pack, parts in (
                ("without a block", "default-20261122-0000.pack", 0, []),
                ("bytes as they are", "records-20261122-0001.pack", 1, [(AS_IT_IS, ABC)]),
                ("a frame that is longer than what is in it", "default-20261122-0258.pack", 258, [(FRAMED, ABC)]),
                ("a block of every sort", "default-20261122-4294967297.pack", 2**32 + 1, [(EMPTY, b""), (SHORT, b"a" * 200), (AS_IT_IS, ABC), (TWICE, ABC + b"a" * 200)]),
            )
        ],
        "invalid": [
            refused("a header that is cut off", b"", "pack header is cut short", 52, head=header(258)[:31]),
            refused("a byte of the header changed", AS_IT_IS, "pack header checksum", head=change(header(258), 15)),
            refused("another checksum of the header", AS_IT_IS, "pack header checksum", head=header(258, crc=0)),
            refused("a header of version 1", AS_IT_IS, "pack has a format version this program does not know", head=header(258, version=1)),
            refused("a header of another file", AS_IT_IS, "pack has the name of another one", head=header(258, magic=b"RSjs")),
            refused("the header of another pack", AS_IT_IS, "pack has the name of another one", head=header(259)),
            refused("a byte after the header's version", AS_IT_IS, "pack has the name of another one", head=header(258, zeros=b"\0\0\1")),
            refused("bytes after the header's id", AS_IT_IS, "pack has the name of another one", head=header(258, more=bytes(11) + b"\1")),
            refused("another magic", block(3, ABC, magic=b"RSjf"), "no block here"),
            refused("version 1", block(3, ABC, version=1), FORM),
            refused("a byte after the version", block(3, ABC, zeros=b"\0\0\1"), FORM),
            refused("a byte of the raw length changed", change(FRAMED, 11), "block checksum"),
            refused("a stored byte changed", change(AS_IT_IS, 21), "block checksum"),
            refused("another checksum", block(3, ABC, crc=0), "block checksum"),
            refused("one byte fewer than was stored", AS_IT_IS[:-1], "block has another length"),
            refused("one byte more than was stored", AS_IT_IS + b"x", "block has another length"),
            refused("a length that goes on in the next block", block(3, ABC, length=4) + EMPTY, "block has another length", 23),
            refused("past the end", AS_IT_IS, "block is cut short", 24),
            refused("behind the end", AS_IT_IS, "block is cut short", 23, offset=55),
            refused("in the header of the pack", AS_IT_IS, "no block can be here", 23, offset=31),
            refused("shorter than a header", AS_IT_IS, "no block can be here", 19),
            refused("in the middle of a block", AS_IT_IS, "no block here", 20, offset=35),
            refused("a raw length over 256 MiB", block(LIMIT + 1, ABC), "block is larger than allowed"),
            refused("more raw bytes than it says", block(199, zstd(200, (RLE_BLOCK, 200, b"a"))), BAD),
            refused("fewer raw bytes than it says", block(201, zstd(200, (RLE_BLOCK, 200, b"a"))), BAD),
            refused("raw bytes where it says that there are none", block(0, zstd(200, (RLE_BLOCK, 200, b"a"))), BAD),
            refused("no zstd", block(5, ABC), BAD),
            refused("a frame that is cut off", block(203, zstd(203, (RAW_BLOCK, 3, ABC), (RLE_BLOCK, 200, b"a"))[:-1]), BAD),
            refused("a frame with another size", block(200, zstd(201, (RLE_BLOCK, 200, b"a"))), BAD),
            refused("a frame that needs a dictionary", block(200, zstd(200, (RLE_BLOCK, 200, b"a"), descriptor=b"\x21", dictionary=b"\1")), BAD),
            refused("void", VOID, "block was erased"),
        ],
    },
}
directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(__file__)
with open(os.path.join(directory, "pack.json"), "w") as out:
    json.dump(vectors, out, indent=1)
    out.write("\n")
