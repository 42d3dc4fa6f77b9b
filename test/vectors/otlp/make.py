"""Makes the vectors of this folder with Google's protobuf and the published OTLP schema. See README.md."""

import base64
import hashlib
import json
import pathlib
import struct

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

HERE = pathlib.Path(__file__).parent
REQUEST = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"


def loose_request():
    """The request's class with every string turned into bytes: UTF-8 is not what is compared here."""
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        todo = list(file.message_type)
        while todo:
            each = todo.pop()
            todo.extend(each.nested_type)
            for field in each.field:
                if field.type == field.TYPE_STRING:
                    field.type = field.TYPE_BYTES
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(REQUEST))


Request = loose_request()


def parse(body):
    """The dump of a request, None when it does not parse."""
    try:
        request = Request.FromString(body)
    except message.DecodeError:
        return None
    return [
        [
            resource(group.resource) if group.HasField("resource") else None,
            [
                [scope(inner.scope) if inner.HasField("scope") else None, [span(each) for each in inner.spans]]
                for inner in group.scope_spans
            ],
        ]
        for group in request.resource_spans
    ]


def resource(each):
    refs = [
        [
            ref.schema_url.hex(),
            ref.type.hex(),
            [key.hex() for key in ref.id_keys],
            [key.hex() for key in ref.description_keys],
        ]
        for ref in each.entity_refs
    ]
    return [key_values(each.attributes), each.dropped_attributes_count, refs]


def scope(each):
    return [each.name.hex(), each.version.hex(), key_values(each.attributes), each.dropped_attributes_count]


def span(each):
    return [
        each.trace_id.hex(),
        each.span_id.hex(),
        each.trace_state.hex(),
        each.parent_span_id.hex(),
        each.name.hex(),
        each.kind,
        str(each.start_time_unix_nano),
        str(each.end_time_unix_nano),
        key_values(each.attributes),
        each.dropped_attributes_count,
        [
            [str(event.time_unix_nano), event.name.hex(), key_values(event.attributes), event.dropped_attributes_count]
            for event in each.events
        ],
        each.dropped_events_count,
        [
            [
                link.trace_id.hex(),
                link.span_id.hex(),
                link.trace_state.hex(),
                key_values(link.attributes),
                link.dropped_attributes_count,
                link.flags,
            ]
            for link in each.links
        ],
        each.dropped_links_count,
        [each.status.message.hex(), each.status.code],
        each.flags,
    ]


def key_values(items):
    return [[item.key.hex(), value(item.value)] for item in items]


def value(each):
    kind = each.WhichOneof("value")
    if kind == "string_value":
        return ["string", each.string_value.hex()]
    if kind == "bool_value":
        return ["bool", each.bool_value]
    if kind == "int_value":
        return ["int", str(each.int_value)]
    if kind == "double_value":
        return ["double", struct.pack(">d", each.double_value).hex()]
    if kind == "array_value":
        return ["array", [value(item) for item in each.array_value.values]]
    if kind == "kvlist_value":
        return ["kvlist", key_values(each.kvlist_value.values)]
    if kind == "bytes_value":
        return ["bytes", each.bytes_value.hex()]
    return ["empty"]  # string_value_strindex too: OTLP says to take it as absent


def digest(dump):
    return hashlib.sha256(json.dumps(dump, separators=(",", ":")).encode()).hexdigest()[:8]


def hex_ids(node):
    """OTLP's own rule: ids are hex in JSON, where protobuf's JSON would have base64."""
    if isinstance(node, list):
        return [hex_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    ids = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode() if key in ids and item is not None else hex_ids(item)
        for key, item in node.items()
    }


def from_json(text):
    request = trace_service_pb2.ExportTraceServiceRequest()
    json_format.ParseDict(hex_ids(json.loads(text)), request, ignore_unknown_fields=True)
    return request.SerializeToString(deterministic=True)


def field(tag, *parts):
    """A length-delimited field: its tag and parts as hex, the length computed."""
    body = "".join(parts).replace(" ", "")
    return bytes.fromhex(tag).hex() + bytes([len(body) // 2]).hex() + body


def spans(*parts):
    return field("0a", field("12", field("12", *parts)))


def handmade():
    """Encodings that no library writes, and every one may read."""
    attribute = field("4a", field("0a", "6b"), field("12", field("0a", "61"), "1805 1001", field("3a", "0102")))
    return {
        "resource and scope after the spans": field(
            "0a", field("12", field("12", "3002"), field("0a", field("0a", "73"))), field("0a", "1005")
        ),
        "unknown fields 17, 9999 and 1000": field(
            "0a",
            field("c23e", "616263"),
            field("12", field("12", field("0a", "0102"), field("8a01", "666f6f"), field("faf004", "6869"), "a00607")),
            field("fa01", "78"),
        ),
        "last scalar wins": spans("3001 3002", field("2a", "61"), field("2a", "62"), "39" + "01" * 8, "39" + "02" * 8),
        "last member of the oneof wins": spans(attribute),
        "string_value_strindex is absent": spans(field("4a", field("0a", "6b"), field("12", field("0a", "61"), "4003"))),
        "longer varints than needed": "0a8e8000 128a8000 12868000 b08000 828000".replace(" ", ""),
        "a string that is not UTF-8": spans(field("2a", "61ff62")),
        "zero bytes": "",
    }


def mutations(body):
    """Every single-bit change: the digest of what it parses to, or a dash."""
    out = []
    for at in range(len(body)):
        for bit in range(8):
            changed = bytearray(body)
            changed[at] ^= 1 << bit
            dump = parse(bytes(changed))
            out.append("-" if dump is None else digest(dump))
    return out


def main():
    json_cases = []
    for path in sorted((HERE / "json").glob("*.json")):
        text = path.read_text()
        json_cases.append({"file": f"json/{path.name}", "request": from_json(text).hex()})

    requests = []
    for case in json_cases:
        body = bytes.fromhex(case["request"])
        requests.append({"name": case["file"], "request": body.hex(), "dump": parse(body)})
    for name, text in handmade().items():
        body = bytes.fromhex(text)
        if parse(body) is None:
            raise SystemExit(f"{name} does not parse")
        requests.append({"name": name, "request": body.hex(), "dump": parse(body)})

    small = bytes.fromhex(next(case["request"] for case in json_cases if case["file"] == "json/small.json"))
    truncations = "".join("0" if parse(small[:size]) is None else "1" for size in range(len(small) + 1))
    write("json.json", json_cases)
    write("requests.json", requests)
    write("changes.json", {"request": small.hex(), "truncations": truncations, "bitFlips": mutations(small)})


def write(name, content):
    (HERE / name).write_text(json.dumps(content, indent=1) + "\n")


main()
