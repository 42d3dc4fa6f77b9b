"""Makes files.json, the vectors of docs/formats/files.md, with nothing but Python's own libraries.

    python3 test/vectors/files/make.py [directory]
"""
import base64
import hashlib
import json
import os
import sys
import zlib

PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1, test 1
CREATED = "2026-11-27T13:30:00.000Z"


def verifier_key(origin, kind=1, public=PUBLIC):
    typed = bytes([kind]) + public
    key_id = hashlib.sha256(origin.encode() + b"\n" + typed).digest()[:4].hex()
    return f"{origin}+{key_id}+{base64.b64encode(typed).decode()}"


def log_file(origin="example.com/log/v0", key=None, created=CREATED, **more):
    members = {"format": "rootspan/log/v0", "origin": origin, "key": key or verifier_key(origin), "created": created}
    members.update(more)
    text = json.dumps(members, indent=2, ensure_ascii=False)
    members["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(members, indent=2, ensure_ascii=False) + "\n"


def line(members, crc=None):
    text = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    crc = crc or f"{zlib.crc32(text.encode()):08x}"
    return json.dumps({**members, "crc32": crc}, separators=(",", ":"), ensure_ascii=False)


def quarantined(reason="bad trace id", span=b"\n\x00\x12\x08abcdefgh", resource=b"", scope=b"", **more):
    text = lambda data: base64.b64encode(data).decode()
    members = {
        "time": "1795786200000000001", "receiver": "otlp/grpc", "signal": "traces", "reason": reason,
        "span": text(span), "resource": text(resource), "scope": text(scope),
    }
    return {**members, **more}


good = log_file()
newest = quarantined()
vectors = {
    "logs": {
        "valid": [
            {"name": name, "origin": origin, "key": verifier_key(origin), "created": CREATED, "text": log_file(origin)}
            for name, origin in [
                ("an origin", "example.com/log/v0"),
                ("a short one", "a/v0"),
                ("one that is not ASCII", "größe.example/v0"),
                ("a quote and a backslash in it", 'a"b\\c/v0'),
                ("255 bytes", "a" * 252 + "/v0"),
            ]
        ],
        "invalid": [
            {"name": "no JSON", "text": good[:-3]},
            {"name": "no object", "text": "[]\n"},
            {"name": "another format", "text": log_file(format="rootspan/log/v1")},
            {"name": "no origin", "text": '{\n  "format": "rootspan/log/v0"\n}\n'},
            {"name": "no line end", "text": good[:-1]},
            {"name": "two line ends", "text": good + "\n"},
            {"name": "other white space", "text": json.dumps(json.loads(good)) + "\n"},
            {"name": "members in another order", "text": json.dumps(json.loads(good), indent=2, sort_keys=True) + "\n"},
            {"name": "one member more", "text": log_file(note="x")},
            {"name": "another digest", "text": good.replace('"sha256": "', '"sha256": "0', 1)[:-4] + good[-3:]},
            {"name": "another time than the digest covers", "text": good.replace("13:30", "13:31")},
            {"name": "a time that is none", "text": log_file(created="2026-11-27")},
            {"name": "the key of another origin", "text": log_file(key=verifier_key("example.org/log/v0"))},
            {"name": "a key of another kind", "text": log_file(key=verifier_key("example.com/log/v0", kind=4))},
            {"name": "a key whose id is another", "text": log_file(key="example.com/log/v0+00000000+" + base64.b64encode(b"\x01" + PUBLIC).decode())},
            {"name": "an origin with a scheme", "text": log_file("https://example.com/v0")},
            {"name": "an origin that does not end in /v0", "text": log_file("example.com/log")},
            {"name": "an origin with a space", "text": log_file("example.com/a log/v0")},
            {"name": "256 bytes of origin", "text": log_file("a" * 253 + "/v0")},
        ],
    },
    "quarantine": {
        "names": {
            "valid": ["quarantine-00000001.jsonl", "quarantine-12345678.jsonl"],
            "invalid": ["quarantine-1.jsonl", "quarantine-000000001.jsonl", "quarantine-0000000a.jsonl", "quarantine-00000001.json", "x-quarantine-00000001.jsonl"],
        },
        "lines": {
            "valid": [
                {"name": "a span alone", "text": line(newest)},
                {"name": "with resource and scope", "text": line(quarantined(resource=b"\n\x03abc", scope=b"\n\x01s"))},
                {"name": "a log record", "text": line(quarantined(signal="logs", receiver="otlp/http"))},
                {"name": "a reason that is not ASCII", "text": line(quarantined("größe \"x\" \\"))},
            ],
            "invalid": [
                {"name": "cut off", "text": line(newest)[:-1]},
                {"name": "no object", "text": "7"},
                {"name": "no checksum", "text": json.dumps(newest, separators=(",", ":"))},
                {"name": "another checksum", "text": line(newest, "00000000")},
                {"name": "a checksum in upper case", "text": line(newest, f"{zlib.crc32(json.dumps(newest, separators=(',', ':')).encode()):08X}")},
                {"name": "another byte of the span", "text": line(newest).replace("GFiY", "GFiZ")},
                {"name": "white space", "text": line(newest).replace(",", ", ", 1)},
                {"name": "the checksum first", "text": json.dumps({"crc32": json.loads(line(newest))["crc32"], **newest}, separators=(",", ":"))},
            ],
        },
    },
    "memory": [
        {"origin": origin, "file": "memory/" + hashlib.sha256(origin.encode()).hexdigest()}
        for origin in ["example.com/log/v0", "größe.example/v0"]
    ],
}

directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(directory, "files.json"), "w", encoding="utf-8") as file:
    json.dump(vectors, file, indent=1, ensure_ascii=False)
    file.write("\n")
