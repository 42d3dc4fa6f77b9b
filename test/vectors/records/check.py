"""Checks the vectors of records, commitments and payloads with nothing but docs/formats and Python's own library.

    python3 test/vectors/records/check.py [directory]

Written from record.md, commitments.md, payload.md and otlp.md, not from the code. Two things are left out: OTLP beyond
the fields that records need, and content digests, so no segment here has two spans with one start time and id.
"""
import hashlib
import json
import pathlib
import struct
import sys

KINDS = [None, "request", "authorization", "decision", "verification", "action", "transition", "persistence", "span"]
(REQUEST, AUTHORIZATION, DECISION, VERIFICATION, ACTION, TRANSITION, PERSISTENCE, SPAN) = range(1, 9)
ROOT, LINKED, AWAITING, REMOTE, UNSAID = 1, 2, 3, 4, 5
SEALED, ADOPTED, JOINED, GAP, LATE = 1, 2, 3, 4, 5
PREVIOUS_SEAL, PARENT, SUBJECT, LOG_RECORD = 7, 8, 9, 10
CLOSED = ["settled", "cut", "drained", "reviewed"]


class Malformed(Exception):
    pass


class Unsupported(Exception):
    pass


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u16(value):
    return struct.pack(">H", value)


def u32(value):
    return struct.pack(">I", value)


def sized(data):
    return u32(len(data)) + data


# ---- protobuf


def read_varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("varint")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value >> 64:
                raise Malformed("varint")
            return value, at


def fields(data):
    """(number, wire type, value) of each field; integers for types 0, 1 and 5."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0 or tag >> 32:
            raise Malformed("tag")
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if at + size > len(data):
                raise Malformed("fixed")
            value = int.from_bytes(data[at : at + size], "little")
            at += size
        elif kind == 2:
            size, at = read_varint(data, at)
            if at + size > len(data):
                raise Malformed("length")
            value = data[at : at + size]
            at += size
        else:
            raise Malformed("wire type")
        yield number, kind, value


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def put(number, value, kind=None):
    """A field, or nothing for a default. Bytes and integers; `kind` 1 is fixed64, 'always' writes empty bytes too."""
    if isinstance(value, bytes):
        if not value and kind != "always":
            return b""
        return varint(number << 3 | 2) + varint(len(value)) + value
    if value == 0:
        return b""
    if kind == 1:
        return varint(number << 3 | 1) + struct.pack("<Q", value)
    return varint(number << 3) + varint(value)


def message(data, shape, repeated=()):
    """Fields by number, of the wire types that `shape` has; an unknown field or another type is malformed."""
    out = {number: [] for number in repeated}
    for number, kind, value in fields(data):
        if shape.get(number) != kind:
            raise Malformed("field")
        if number in repeated:
            out[number].append(value)
        else:
            out[number] = value
    return out


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("utf-8") from None


def need(condition, what="shape"):
    if not condition:
        raise Malformed(what)


# ---- entries

ENTRY = {1: 0, 2: 0, 3: 2, 4: 2, 5: 2, 6: 2, 7: 0, 8: 2, 9: 2, 10: 2, 11: 2, 12: 0, 13: 0, 14: 0}
SIZES = {4: 16, 5: 8, 6: 8, 8: 32, 10: 32, 11: 32}


def encode_entry(entry):
    out = b""
    for number in sorted(ENTRY):
        if number == 9:
            for role, leaf, origin in entry.get(9, []):
                out += put(9, put(1, role) + put(2, leaf) + put(3, origin))
        else:
            out += put(number, entry.get(number, 0 if ENTRY[number] == 0 else b""))
    return out


def parse_entry(data):
    if data[:1] == b"\x08":
        number, _, version = next(fields(data))
        if version > 0:
            raise Unsupported()
    need(len(data) <= 4096, "size")
    entry = message(data, ENTRY, (9,))
    causes = []
    for cause in entry[9]:
        parts = message(cause, {1: 0, 2: 2, 3: 2})
        need(1 <= parts.get(1, 0) <= 10 and len(parts.get(2, b"")) == 32, "cause")
        utf8(parts.get(3, b""))
        causes.append((parts[1], parts[2], parts.get(3, b"")))
    entry[9] = causes
    need(len(causes) <= 32, "causes")
    for number, size in SIZES.items():
        need(len(entry.get(number, b"")) in (0, size), "size of a field")
    utf8(entry.get(3, b""))
    kind, parent, persistence = entry.get(2, 0), entry.get(7, 0), entry.get(12, 0)
    need(1 <= kind <= 8 and parent <= 5 and persistence <= 10, "closed sets")
    born = parent != 0
    need(born == (10 in entry))
    need(not born or (kind in (REQUEST, ACTION, SPAN) and 5 in entry))
    need(kind != SPAN or born)
    need((parent in (LINKED, AWAITING, REMOTE)) == (6 in entry))
    need((parent == LINKED) == (8 in entry))
    need((kind == PERSISTENCE) == (persistence != 0))
    need(5 not in entry or 4 in entry)
    need(entry.get(13, 0) < 2**53 and entry.get(14, 0) < 2**53)
    if persistence == SEALED:
        need(entry.get(14, 0) >= 1 or entry.get(13, 0) >= 1)
    else:
        need(13 not in entry and 14 not in entry)
    need(encode_entry(entry) == data, "canonical")
    return entry


def leaf_hash(entry):
    return sha(b"\x00", entry)


# ---- receipts

RECEIPT = {1: 2, 2: 2, 3: 2, 4: 1, 5: 0, 6: 0}


def parse_receipt(data):
    parts = message(data, RECEIPT)
    texts = [utf8(parts.get(number, b"")) for number in (1, 2, 3)]
    again = b"".join(put(n, parts.get(n, b"")) for n in (1, 2, 3)) + put(4, parts.get(4, 0), 1)
    again += put(5, parts.get(5, 0)) + put(6, parts.get(6, 0))
    need(again == data and parts.get(5, 0) <= 1 and parts.get(6, 0) <= 1, "canonical")
    said = dict(zip(("receiver", "peer", "tenant"), texts), receivedAt=str(parts.get(4, 0)), tracked=parts.get(5, 0) == 1)
    return dict(said, signal="logs" if parts.get(6, 0) else "traces")


# ---- commitments


def trace_seed(request_seed, tenant, trace_id):
    return sha(b"rs/t\n", request_seed, u16(len(tenant)), tenant, trace_id)


def salt(seed, index, ordinal):
    return sha(b"rs/salt\n", seed, u32(index), u32(ordinal))[:16]


def evidence(seed, index, receipt, resource, scope, span):
    context = sha(b"rootspan/context/v0\n", sized(receipt), sized(resource), sized(scope))
    return context, sha(b"rootspan/evidence/v0\n", salt(seed, index, 0), context, sized(span))


def claim(seed, index, ordinal, key, value):
    return sha(b"rootspan/claim/v0\n", salt(seed, index, ordinal), u16(len(key)), key, value)


def claim_set(claims):
    return sha(b"rootspan/claims/v0\n", u32(len(claims)), *sorted(claims))


def string(text):
    return b"\x01" + (text.encode() if isinstance(text, str) else text)


def integer(value):
    return b"\x03" + struct.pack(">q", value)


def octets(data):
    return b"\x07" + data


def kvlist(members):
    out = b"\x06" + u32(len(members))
    for key, value in members:
        out += u16(len(key)) + key.encode() + sized(value)
    return out


# ---- OTLP, as far as records need it


def value_of(data):
    """The encoding of an AnyValue. Of several members the last counts."""
    out = b"\x00"
    for number, _, value in fields(data):
        if number == 1:
            out = string(value)
        elif number == 2:
            out = b"\x02" + (b"\x01" if value else b"\x00")
        elif number == 3:
            out = b"\x03" + struct.pack(">Q", value)
        elif number == 4:
            out = b"\x04" + struct.pack(">Q", value)
        elif number == 5:
            items = [value_of(item) for n, _, item in fields(value) if n == 1]
            out = b"\x05" + u32(len(items)) + b"".join(map(sized, items))
        elif number == 6:
            items = [attribute_of(item) for n, _, item in fields(value) if n == 1]
            out = b"\x06" + u32(len(items)) + b"".join(u16(len(k)) + k + sized(v) for k, v in items)
        elif number == 7:
            out = octets(value)
    return out


def attribute_of(data):
    key, value = b"", b"\x00"
    for number, _, part in fields(data):
        if number == 1:
            key = part
        elif number == 2:
            value = value_of(part)
    return key, value


class Span:
    log = False

    def __init__(self, data):
        self.trace_id = self.id = self.parent = b""
        self.start = self.end = self.kind = self.flags = 0
        self.attributes, self.events, self.links = [], [], []
        for number, _, value in fields(data):
            if number == 1:
                self.trace_id = value
            elif number == 2:
                self.id = value
            elif number == 4:
                self.parent = value
            elif number == 6:
                self.kind = value & 0xFFFFFFFF
            elif number == 7:
                self.start = value
            elif number == 8:
                self.end = value
            elif number == 9:
                self.attributes.append(attribute_of(value))
            elif number == 11:
                parts = list(fields(value))
                time = ([0] + [v for n, _, v in parts if n == 1])[-1]
                name = ([b""] + [v for n, _, v in parts if n == 2])[-1]
                self.events.append((time, name, [attribute_of(v) for n, _, v in parts if n == 3]))
            elif number == 13:
                parts = list(fields(value))
                ids = [([b""] + [v for n, _, v in parts if n == wanted])[-1] for wanted in (1, 2)]
                self.links.append(tuple(ids))
            elif number == 16:
                self.flags = value
        need(len(self.trace_id) == 16 and any(self.trace_id), "trace id")
        need(len(self.id) == 8 and any(self.id), "span id")
        need(len(self.parent) in (0, 8), "parent id")
        if not any(self.parent):
            self.parent = b""
        known = self.flags & 0x100
        self.remote = bool(self.flags & 0x200) if known else self.kind in (2, 5)


LOG_RECORD_FIELDS = {1: 1, 2: 0, 3: 2, 5: 2, 6: 2, 7: 0, 8: 5, 9: 2, 10: 2, 11: 1, 12: 2}


class LogRecord:
    """A log record about governance, in the place of a span."""

    log, parent, remote, links, events, kind = True, b"", False, (), (), None

    def __init__(self, data):
        self.trace_id = self.id = self.name = b""
        self.start, observed, self.attributes = 0, 0, []
        for number, wire_type, value in fields(data):
            need(LOG_RECORD_FIELDS.get(number, wire_type) == wire_type, "wire type")
            if number == 1:
                self.start = value
            elif number == 6:
                self.attributes.append(attribute_of(value))
            elif number == 9:
                self.trace_id = value
            elif number == 10:
                self.id = value
            elif number == 11:
                observed = value
            elif number == 12:
                self.name = value
        self.start = self.end = self.start or observed
        named = [v[1:] for k, v in self.attributes if k == b"event.name" and v[:1] == b"\x01" and v[1:12] == b"governance."]
        self.name = self.name or min(named, default=b"")
        need(len(self.trace_id) == 16 and any(self.trace_id), "trace id")
        need(len(self.id) == 8 and any(self.id), "span id")
        need(self.name.startswith(b"governance."), "name")


# ---- facts

GROUPS = {
    b"authorization": AUTHORIZATION,
    b"delegation": AUTHORIZATION,
    b"approval": AUTHORIZATION,
    b"decision": DECISION,
    b"policy": DECISION,
    b"verification": VERIFICATION,
    b"transition": TRANSITION,
    b"action": ACTION,
    b"execution": REQUEST,
}
NAMES = {string(KINDS[kind]): kind for kind in (REQUEST, AUTHORIZATION, DECISION, VERIFICATION, ACTION, TRANSITION)}
RECORD_KIND = b"governance.record.kind"


def group(name):
    return GROUPS.get(name[len(b"governance.") :].split(b".")[0]) if name.startswith(b"governance.") else None


def claims_in(attributes):
    return sorted(pair for pair in attributes if pair[0].startswith(b"governance."))


def first(candidates):
    return next((one for one in candidates if one is not None), None)


def marked(claims):
    return first(NAMES.get(value) for key, value in claims if key == RECORD_KIND)


def fact_of_event(name, attributes):
    of = claims_in(attributes)
    kind = first([marked(of), group(name), first(group(key) for key, _ in of)])
    return kind, of + [(b"rootspan.event.name", string(name))]


def facts_of(span):
    """Kind and claims of the span-born record, and (kind, claims, time) of each fact."""
    if span.log:
        kind, of = fact_of_event(span.name, span.attributes)
        if kind in (None, REQUEST, ACTION):
            return kind or SPAN, of, []
        return SPAN, [], [(kind, of, span.start)]
    claims = claims_in(span.attributes)
    own = [pair for pair in claims if group(pair[0]) in (None, ACTION, REQUEST)]
    by_kind = {k: [pair for pair in claims if group(pair[0]) == k] for k in (AUTHORIZATION, VERIFICATION, DECISION, TRANSITION)}
    if not any(key == b"governance.decision.outcome" for key, _ in by_kind[DECISION]):
        own += by_kind.pop(DECISION)
    facts = [(kind, of, 0) for kind, of in by_kind.items() if of]
    for time, name, attributes in span.events:
        kind, of = fact_of_event(name, attributes)
        if kind is not None:
            facts.append((kind, of, time))
    kind = marked(claims)
    if kind not in (ACTION, REQUEST):
        groups = {group(key) for key, _ in own}
        kind = ACTION if ACTION in groups else REQUEST if REQUEST in groups else SPAN
    return kind, own, facts


# ---- testimony: the claim that says what contexts of other executions may take from a record


def text_in(claims, key):
    """Of several with one key the first counts, and only if it is a string."""
    value = first(value for name, value in claims if name == b"governance." + key)
    return value[1:] if value is not None and value[:1] == b"\x01" else None


def names_in(claims, names):
    found = [(name, text_in(claims, key)) for name, key in names]
    return [(name, string(value)) for name, value in found if value is not None]


def testimony(kind, claims, time, span):
    if kind == AUTHORIZATION:
        approval = text_in(claims, b"approval.id")
        if approval is None and text_in(claims, b"authorization.type") == b"approval":
            approval = text_in(claims, b"authorization.id")
        if text_in(claims, b"authorization.status") != b"revoked":
            once = names_in(claims, [("transaction", b"authorization.transaction.id")])
            once += [] if approval is None else [("approval", string(approval))]
            return [(b"rootspan.use", kvlist(once))] if once else []
        own = names_in(claims, [("fingerprint", b"authorization.fingerprint"), ("id", b"authorization.id")])[:1]
        names = own or names_in(claims, [("subject", b"authorization.subject"), ("transaction", b"authorization.transaction.id")])
        if not names:
            return []
        issuer = ("issuer", string(text_in(claims, b"authorization.issuer") or b""))
        return [(b"rootspan.revocation", kvlist([("at", time_of(time or span.start)), issuer, *names]))]
    if kind == DECISION:
        policy, version, digest = (text_in(claims, b"policy." + key) for key in (b"id", b"version", b"digest"))
        if policy is None or (version is None and digest is None):
            return []
        attributes = [attribute_of(value) for number, _, value in fields(span.resource) if number == 1]
        service = first(value for key, value in attributes if key == b"service.name") or b""
        members = {
            "engine": text_in(claims, b"decision.engine.name"),
            "policy": policy,
            "version": version,
            "digest": digest,
            "service": service[1:] if service[:1] == b"\x01" else b"",
        }
        said = [(name, string(value or b"")) for name, value in members.items()]
        return [(b"rootspan.policy", kvlist([("at", time_of(time or span.end)), *said]))]
    return []


def own_testimony(claims):
    emitter = text_in(claims, b"emitter.id")
    seq = first(value for name, value in claims if name == b"governance.emitter.seq")
    if emitter is None or seq is None or seq[:1] != b"\x03":
        return []
    prev = string(text_in(claims, b"emitter.prev") or b"")
    return [(b"rootspan.emitter", kvlist([("id", string(emitter)), ("seq", seq), ("prev", prev)]))]


def time_of(nanos):
    return b"\x03" + struct.pack(">Q", nanos)


# ---- payloads


def parse_payload(data):
    parts = message(data, {1: 2, 2: 2, 3: 0, 4: 0, 5: 1, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 2, 12: 2}, (6, 7, 8, 9))
    tenant = parts.get(2, b"")
    utf8(tenant)
    need(len(parts.get(1, b"")) == 16 and len(tenant) <= 255 and parts.get(3, 0) < 2**32 and parts.get(4, 0) <= 3)
    out = put(1, parts[1]) + put(2, tenant) + put(3, parts.get(3, 0)) + put(4, parts.get(4, 0)) + put(5, parts.get(5, 0), 1)
    sources = []
    for source in parts[6]:
        row = message(source, {1: 2, 2: 2})
        need(1 in row and len(row.get(2, b"")) == 32, "source")
        sources.append((row[1], row[2]))
        out += put(6, put(1, row[1], "always") + put(2, row[2]))
    out += b"".join(put(7, row, "always") for row in parts[7]) + b"".join(put(8, row, "always") for row in parts[8])
    spans, used = [], ({}, {}, {})
    for data_of in parts[9]:
        row = message(data_of, {1: 0, 2: 0, 3: 0, 4: 0, 5: 2, 6: 2})
        source, index, resource, scope = (row.get(number, 0) for number in (1, 2, 3, 4))
        need(source < len(sources) and resource <= len(parts[7]) and scope <= len(parts[8]) and index < 2**32, "row")
        need((5 in row) != (6 in row), "span")
        held = 5 if 5 in row else 6
        # Rows are in the order of their first use, and belong to one source, a scope to one resource too.
        for rows, place, owner in ((used[0], source, None), (used[1], resource - 1, source), (used[2], scope - 1, (source, resource))):
            if place >= 0:
                need(place in rows or place == len(rows), "order of rows")
                need(rows.setdefault(place, owner) == owner, "owner of a row")
        span = (Span if held == 5 else LogRecord)(row[held])
        span.seed, span.index, span.receipt, span.bytes = sources[source][1], index, sources[source][0], row[held]
        span.resource = parts[7][resource - 1] if resource else b""
        span.scope = parts[8][scope - 1] if scope else b""
        spans.append(span)
        out += put(9, put(1, source) + put(2, index) + put(3, resource) + put(4, scope) + put(held, row[held], "always"))
    reviewed = parts.get(4, 0) == 3
    need(not reviewed or (not spans and len(sources) == 1 and sources[0][0] == b""), "a review")
    need([len(rows) + (reviewed and number == 6) for rows, number in zip(used, (6, 7, 8))] == [len(parts[number]) for number in (6, 7, 8)], "unused rows")
    need(len(parts.get(12, b"")) in (0, 32), "ruleset")
    need(12 in parts or not (10 in parts or 11 in parts), "judged by no rules")
    out += b"".join(put(number, parts.get(number, b"")) for number in (10, 11, 12))
    need(out == data, "canonical")
    head = {"tenant": tenant, "trace": parts[1], "segment": parts.get(3, 0), "closed": parts.get(4, 0), "time": parts.get(5, 0)}
    head["seed"] = sources[0][1] if reviewed else None
    head.update({"context": parts.get(10, b""), "judgement": parts.get(11, b""), "ruleset": parts.get(12, b"")})
    return head, spans


# ---- judgements


SEVERITIES = ("critical", "high", "medium", "low")
RESULTS = ("pass", "fail", "unknown")


def parse_judgement(data):
    """(results, findings) as the page says; what the rules come to is not computed here."""
    parts = message(data, {1: 2, 2: 2}, (1, 2))
    results, findings, out = [], [], b""
    for one in parts[1]:
        row = message(one, {1: 2, 2: 0, 3: 2}, (3,))
        rule = row.get(1, b"")
        need(1 <= row.get(2, 0) <= 3, "result")
        results.append((utf8(rule), RESULTS[row[2] - 1], [utf8(text) for text in row[3]]))
        out += put(1, put(1, rule, "always") + put(2, row[2]) + b"".join(put(3, text, "always") for text in row[3]))
    for one in parts[2]:
        row = message(one, {1: 2, 2: 0, 3: 2, 4: 2}, (4,))
        need(1 <= row.get(2, 0) <= 4 and row[4] and all(len(leaf) == 32 for leaf in row[4]), "finding")
        findings.append((utf8(row.get(1, b"")), SEVERITIES[row[2] - 1], utf8(row.get(3, b"")), tuple(row[4])))
        out += put(2, put(1, row.get(1, b""), "always") + put(2, row[2]) + put(3, row.get(3, b""), "always") + b"".join(put(4, leaf) for leaf in row[4]))
    need(out == data, "canonical")
    rules = [rule for rule, _, _ in results]
    need(rules == sorted(set(rules)), "rules out of order")
    need([one[0] for one in findings] == sorted(one[0] for one in findings), "findings out of order")
    for _, _, missing in results:
        need(len(missing) <= 16 and missing == sorted(set(missing)), "missing out of order")
    return results, findings


BY, TEXT, TIME, LEAF, TRACE_ID, SPAN_ID = "text", "text", "time", 32, 16, 8
CONTEXT = [
    ("revocations", {"by": BY, "issuer": TEXT, "value": TEXT, "at": TIME, "leaf": LEAF, "traceId": TRACE_ID}),
    ("uses", {"by": BY, "value": TEXT, "leaf": LEAF, "traceId": TRACE_ID}),
    ("policies", {
        "engine": TEXT, "policy": TEXT, "version": TEXT, "digest": TEXT, "service": TEXT, "since": TIME, "leaf": LEAF, "traceId": TRACE_ID,
    }),
    ("neighbours", {"emitter": TEXT, "seq": TIME, "prev": TEXT, "spanId": SPAN_ID, "leaf": LEAF, "traceId": TRACE_ID}),
    ("gaps", {"emitter": TEXT, "from": TIME, "to": TIME, "noticedAt": TIME}),
    ("skews", {"caller": TEXT, "callee": TEXT, "offset": TIME}),
]


def parse_context(data):
    """The statements of each sort, as the vectors show them."""
    out = {name: [] for name, _ in CONTEXT}
    last = 0
    for sort, kind, value in fields(data):
        need(kind == 2 and last <= sort <= len(CONTEXT), "sort")
        last = sort
        name, shape = CONTEXT[sort - 1]
        parts = list(fields(value))
        need([number for number, _, _ in parts] == list(range(1, len(shape) + 1)), "every field, once, in order")
        statement = {}
        for (field, of), (_, kind, part) in zip(shape.items(), parts):
            need(kind == (1 if of == TIME else 2), "type")
            if of == TIME:
                statement[field] = str(part - 2**64 if part >> 63 else part)
            elif of == TEXT:
                statement[field] = utf8(part)
            else:
                need(len(part) == of, "size")
                statement[field] = part.hex()
        out[name].append(statement)
        need(len(out[name]) <= 128, "too many")
    again = b""
    for sort, kind, value in fields(data):
        again += put(sort, b"".join(
            put(number, part, "always") if kind == 2 else varint(number << 3 | 1) + struct.pack("<Q", part)
            for number, kind, part in fields(value)
        ), "always")
    need(again == data, "canonical")
    return out


def continuity(results, findings):
    if any(severity != "low" for _, severity, _, _ in findings):
        return "broken"
    if not results or any(result == "unknown" or missing for _, result, missing in results):
        return "unknown"
    return "intact"


# ---- segments


class History:
    def __init__(self):
        self.findings, self.judged = [], False
        self.born, self.waiting, self.logs = {}, {}, {}
        self.segment, self.seal, self.closed = 0, None, None


def order(spans):
    """Spans in record order, with `above` (the parent in the segment, None for a root) and `opens`."""
    key = lambda span: (span.start, span.id)
    spans = sorted(spans, key=key)
    if len({key(span) for span in spans}) != len(spans):
        raise NotImplementedError("content digests")
    by_id = {}
    for span in sorted(spans, key=lambda span: span.log):  # spans before log records, each by key
        by_id.setdefault(span.id, span)
    beside = {}
    for span in spans:
        span.about = by_id[span.id] if span.log and not by_id[span.id].log else None
        beside.setdefault(span.about, []).append(span)
    children = {}
    for span in spans:
        span.opens, span.place = False, None
        span.above = by_id.get(span.parent) if span.parent else None
        if span.about is None:
            children.setdefault(span.above, []).append(span)
    out = []

    def place(top):
        stack = [top]
        while stack:
            span = stack.pop()
            if span.place is not None:
                continue
            for log in beside.get(span, []):
                log.place = len(out)
                out.append(log)
            span.place = len(out)
            out.append(span)
            stack.extend(reversed(children.get(span, [])))

    for span in children.get(None, []):
        place(span)
    for span in spans:  # by key, so the first one met on a cycle is its smallest
        if span.place is None:
            at, seen = span.above, {span}
            while at is not None and at not in seen:
                seen.add(at)
                at = at.above
            if at is span:
                span.opens = True
                place(span)
    for span in out:
        if span.opens:
            span.above = None
    for span in out:
        if span.about is not None:
            span.above = span.about.above
    return out


RELIES = {
    VERIFICATION: (AUTHORIZATION,),
    DECISION: (AUTHORIZATION, VERIFICATION),
    TRANSITION: (AUTHORIZATION, VERIFICATION, DECISION),
    ACTION: (AUTHORIZATION, VERIFICATION, DECISION),
}
ROLES = {AUTHORIZATION: 1, DECISION: 2, VERIFICATION: 3, ACTION: 4, TRANSITION: 5, REQUEST: 6}


def joins(spans):
    """(action span, leaf number of the decision, method)."""
    decisions, at = [], {}  # (span, leaf, lookup); (time, leaf) of each span's
    for span in spans:
        for (kind, of, time), leaf in zip(span.facts, span.fact_leaves):
            if kind == DECISION:
                said = {}
                for k, v in of + span.own:
                    said.setdefault(k, v)
                decisions.append((span, leaf, said))
                at.setdefault(span.about or span, []).append((time, leaf))
    for of in at.values():
        of.sort(key=lambda one: one[0])
    governed = {}
    for span in spans:
        if span.governed:
            governed.setdefault(span.id, span)
    for span in spans:
        if not span.governed or span.record_kind != ACTION or (span.about or span) in at:
            continue
        said = {}
        for k, v in span.own:
            said.setdefault(k, v)
        begun = span.start + (999_999 if span.start % 1_000_000 == 0 else 0)
        above, parents = span.above, []
        while above is not None:
            if above in at:
                parents.append(at[above])
            above = above.above

        def last_before(of):
            return first(leaf for time, leaf in of[::-1] if time <= begun)

        def by_claim(key):
            return first(leaf for _, leaf, of in decisions if key in said and of.get(key) == said[key])

        def by_link():
            for trace, target in span.links:
                found = governed.get(target) if trace == span.trace_id and len(target) == 8 else None
                found = found and (found.about or found)
                if found is not None and found in at:
                    return first([last_before(at[found]), at[found][0][1]])
            return None

        def by_ancestor():
            return first(last_before(of) for of in parents[:256])

        def by_sibling():
            if span.above is None:
                return None
            beside = [one for one in decisions if one[0].above is span.above and one[0].end <= begun]
            beside.sort(key=lambda one: one[0].end)
            name = said.get(b"governance.action.name")
            for _, leaf, of in beside[::-1][:256]:
                theirs = of.get(b"governance.action.name")
                if theirs is None or name is None or theirs == name:
                    return leaf
            return None

        for method, find in (
            ("id", lambda: by_claim(b"governance.decision.id")),
            ("link", by_link),
            ("ancestor", by_ancestor),
            ("sibling", by_sibling),
            ("digest", lambda: by_claim(b"governance.action.digest")),
            ("ancestor", lambda: first(of[0][1] for of in parents)),
        ):
            leaf = find()
            if leaf is not None:
                yield span, leaf, method
                break


def derive(head, spans, history, ruleset):
    entries, leaves, counts = [], [], {}
    base = {4: head["trace"]}
    if head["tenant"]:
        base[3] = head["tenant"]

    def add(entry):
        data = encode_entry({**base, **entry})
        need(parse_entry(data), "a derived entry")
        entries.append(data)
        leaves.append(leaf_hash(data))
        counts[entry[2]] = counts.get(entry[2], 0) + 1
        return len(entries) - 1

    ordered = order(spans)
    need([id(span) for span in ordered] == [id(span) for span in spans], "record order")
    missing, shared = set(), {}
    for span in ordered:
        span.governed = span.log or bool(claims_in(span.attributes)) or any(
            name.startswith(b"governance.") or claims_in(of) for _, name, of in span.events
        )
        span.record_kind, span.own, span.facts = facts_of(span) if span.governed else (SPAN, [], [])
        span.facts = [(kind, of + testimony(kind, of, time, span), time) for kind, of, time in span.facts]
        span.own = span.own + own_testimony(span.own)
        span.fact_leaves, ordinal, own_facts = [], 1, []
        if span.about is not None or not span.log:
            before = [(LOG_RECORD, leaf, b"") for leaf in history.logs.get(span.id, [])]
            written = shared.setdefault(span.about or span, before)
        else:
            written = []

        def commit(claims):
            nonlocal ordinal
            out = [claim(span.seed, span.index, ordinal + at, k, v) for at, (k, v) in enumerate(claims)]
            ordinal += len(claims)
            return {11: claim_set(out)} if claims else {}

        for kind, claims, _ in span.facts:
            causes = [cause for cause in written if cause[0] in map(ROLES.get, RELIES.get(kind, ()))][-32:]
            span.fact_leaves.append(add({2: kind, 5: span.id, 9: causes, **commit(claims)}))
            written.append((ROLES[kind], leaves[-1], b""))
            own_facts.append(written[-1])
        entry = {2: span.record_kind, 5: span.id, 9: own_facts if span.log else written[-32:], **commit(span.own)}
        earlier = sorted(history.born.get(span.parent, []), key=lambda one: one[1] is None)  # log records have no kind
        if not span.parent:
            entry[7] = UNSAID if span.log else ROOT
        else:
            entry[6] = span.parent
            if span.above is not None:
                entry.update({7: LINKED, 8: leaves[span.above.leaf]})
            elif span.opens:
                entry[7] = AWAITING
            elif earlier:
                entry.update({7: LINKED, 8: earlier[0][0]})
            elif span.remote:
                entry[7] = REMOTE
            else:
                entry[7] = AWAITING
                missing.add(span.parent)
        entry[10] = evidence(span.seed, span.index, span.receipt, span.resource, span.scope, span.bytes)[1]
        span.leaf, span.state = add(entry), entry[7]
        if span.log:
            written.append((LOG_RECORD, leaves[-1], b""))

    own_ordinal = 2**31

    def collected(entry, *claims):
        nonlocal own_ordinal
        seed, index = (ordered[0].seed, ordered[0].index) if ordered else (head["seed"], 0)
        out = [claim(seed, index, own_ordinal + at, k.encode(), v) for at, (k, v) in enumerate(claims)]
        own_ordinal += len(claims)
        add({**entry, 11: claim_set(out)})

    def finding(result, of):
        rule, severity, detail, subjects = of
        causes = [(SUBJECT, leaf, b"") for leaf in subjects]
        claims = (("rule", rule), ("result", result), ("severity", severity), ("detail", detail))
        collected({2: VERIFICATION, 9: causes}, *(("rootspan.finding." + k, string(v)) for k, v in claims))

    for span, decision, method in list(joins(ordered)):
        causes = [(ROLES[ACTION], leaves[span.leaf], b""), (ROLES[DECISION], leaves[decision], b"")]
        collected({2: PERSISTENCE, 12: JOINED, 9: causes}, ("rootspan.join.method", string(method)))
    adopted = set()
    for span in ordered:
        if span.about is not None:
            continue
        waiting = [] if span.id in adopted else history.waiting.get(span.id, [])
        adopted.add(span.id)
        for at in range(0, len(waiting), 1000):
            children = ("rootspan.adopted.children", octets(b"".join(waiting[at : at + 1000])))
            collected({2: PERSISTENCE, 12: ADOPTED, 9: [(PARENT, leaves[span.leaf], b"")]}, children)
    equivocal = set()
    for span in ordered:
        twins = [o for o in ordered if not span.log and o.id == span.id and o.kind == span.kind and (o.start, o.id) < (span.start, span.id)]
        before = first(leaf for leaf, kind in history.born.get(span.id, []) if kind == span.kind and not span.log)
        if before is not None:
            equivocal.add((leaves[span.leaf], before))
        elif twins:
            equivocal.add((leaves[span.leaf], leaves[min(twins, key=lambda o: o.start).leaf]))
        if span.opens:
            equivocal.add((leaves[span.leaf],))
    # The one rule that needs nothing but the structure is computed here as well.
    results, findings = parse_judgement(head["judgement"])
    known = {subjects for rule, _, _, subjects in history.findings if rule == "GC-N03"}
    need({subjects for rule, _, _, subjects in findings if rule == "GC-N03"} == known | equivocal, "GC-N03")
    identity = lambda of: (of[0], of[2], of[3][0])
    before = {identity(of): of for of in history.findings}
    for of in findings:
        if before.pop(identity(of), None) is None:
            finding("fail", of)
    for of in before.values():
        finding("withdrawn", of)
    if history.segment > 0 and history.closed == 0 and spans:
        collected({2: PERSISTENCE, 12: LATE}, ("rootspan.late.count", integer(len(ordered))))
    if missing:
        ids = sorted(missing)[:1000]
        count = ("rootspan.gap.count", integer(len(missing)))
        collected({2: PERSISTENCE, 12: GAP}, count, ("rootspan.gap.parents", octets(b"".join(ids))))
    members = [
        ("counts", kvlist([(KINDS[kind], integer(count)) for kind, count in sorted(counts.items())])),
        ("closed", string(CLOSED[head["closed"]])),
        ("evaluated_at", integer(head["time"])),
        ("continuity", string(continuity(results, findings))),
        ("completeness", string("gaps" if missing else "not provable")),
    ]
    history.judged = history.judged or any(span.governed for span in ordered) or bool(equivocal)
    need((head["ruleset"] == sha(ruleset)) == history.judged and (history.judged or not head["ruleset"]), "judged or not")
    if history.judged:
        members[3:3] = [
            ("ruleset", octets(head["ruleset"])),
            ("context", octets(sha(b"rootspan/judgement-context/v0\n", head["context"]))),
            ("judgement", octets(sha(b"rootspan/judgement/v0\n", head["judgement"]))),
        ]
    causes = [(PREVIOUS_SEAL, history.seal, b"")] if history.segment else []
    seal = {2: PERSISTENCE, 12: SEALED, 9: causes, 13: history.segment, 14: len(entries)}
    collected(seal, ("rootspan.seal", kvlist(members)))

    for span in ordered:
        history.born.setdefault(span.id, []).append((leaves[span.leaf], span.kind))
        if span.log:
            history.logs.setdefault(span.id, []).append(leaves[span.leaf])
        if span.state in (AWAITING, REMOTE):
            history.waiting.setdefault(span.parent, []).append(leaves[span.leaf])
    for span in ordered:
        history.waiting.pop(span.id, None)
    history.findings = findings
    history.segment, history.seal = history.segment + 1, leaves[-1]
    if head["closed"] != 3:
        history.closed = head["closed"]
    return entries, leaves


# ---- the files


def unhex(text):
    return bytes.fromhex(text)


def refused(parse, data):
    try:
        parse(data)
    except Malformed:
        return "malformed"
    except Unsupported:
        return "unsupported"
    return "accepted"


def check_entries(cases):
    numbers = {"kind": 2, "tenant": 3, "traceId": 4, "spanId": 5, "parentSpanId": 6, "parent": 7, "parentLeaf": 8, "causes": 9}
    numbers.update({"evidence": 10, "claims": 11, "persistence": 12, "segment": 13, "leaves": 14})
    for case in cases["valid"]:
        data = unhex(case["entry"])
        entry = parse_entry(data)
        shown = {}
        for name, number in numbers.items():
            value = entry.get(number)
            if number == 9 and value:
                shown[name] = [{"role": r, "leaf": leaf.hex(), "origin": o.decode()} for r, leaf, o in value]
            elif value:
                shown[name] = value if isinstance(value, int) else value.decode() if number == 3 else value.hex()
        yield case["name"], shown == case["record"] and leaf_hash(data).hex() == case["leafHash"]
    for case in cases["invalid"]:
        yield case["name"], refused(parse_entry, unhex(case["entry"])) == case["result"]


def check_receipts(cases):
    for case in cases["valid"]:
        yield case["name"], parse_receipt(unhex(case["bytes"])) == case["receipt"]
    for case in cases["invalid"]:
        yield case["name"], refused(parse_receipt, unhex(case["bytes"])) == "malformed"


def check_commitments(cases):
    for case in cases["traceSeeds"]:
        seed = trace_seed(unhex(case["requestSeed"]), case["tenant"].encode(), unhex(case["traceId"]))
        yield "trace seed", seed.hex() == case["seed"]
    for case in cases["salts"]:
        yield "salt", salt(unhex(case["seed"]), case["index"], case["ordinal"]).hex() == case["salt"]
    for case in cases["evidence"]:
        parts = [unhex(case[name]) for name in ("receipt", "resource", "scope", "span")]
        context, digest = evidence(unhex(case["seed"]), case["index"], *parts)
        yield "evidence", [context.hex(), digest.hex()] == [case["context"], case["evidence"]]
    for case in cases["claims"]:
        digest = claim(unhex(case["seed"]), case["index"], case["ordinal"], unhex(case["key"]), unhex(case["value"]))
        yield "claim", digest.hex() == case["claim"]
    for case in cases["claimSets"]:
        yield "claims", claim_set([unhex(one) for one in case["claims"]]).hex() == case["digest"]


def check_facts(cases):
    for case in cases:
        kind, own, facts = facts_of((LogRecord if case.get("log") else Span)(unhex(case["span"])))
        shown = [
            {"kind": KINDS[kind], "claims": [[key.hex(), value.hex()] for key, value in of]} for kind, of, _ in [(kind, own, 0), *facts]
        ]
        yield case["name"], shown == [case["own"], *case["facts"]]


def check_payloads(cases):
    for case in cases["valid"]:
        parse_payload(unhex(case["payload"]))
        yield case["name"], True
    for case in cases["invalid"]:
        yield case["name"], refused(parse_payload, unhex(case["payload"])) == "malformed"


def check_segments(file):
    ruleset = "".join(line + "\n" for line in file["ruleset"]).encode()
    for case in file["cases"]:
        history = History()
        for number, segment in enumerate(case["segments"]):
            name = "%s, segment %d" % (case["name"], number)
            head, spans = parse_payload(unhex(segment["payload"]))
            said = (head["tenant"].decode(), head["trace"].hex(), head["segment"], CLOSED[head["closed"]], str(head["time"]))
            good = (head["seed"] or b"").hex() == segment.get("seed", "")
            good = good and said == (case["tenant"], case["traceId"], number, segment["closed"], segment["evaluatedAt"])
            delivered = [
                (request["seed"], request["receipt"], span["index"], span["resource"], span["scope"], span["span"])
                for request in segment["input"]
                for span in request["spans"]
            ]
            kept = [one for at, one in enumerate(delivered) if at not in segment["duplicates"]]
            held = [
                (s.seed.hex(), s.receipt.hex(), s.index, s.resource.hex(), s.scope.hex(), s.bytes.hex()) for s in spans
            ]
            good = good and sorted(kept) == sorted(held)
            good = good and all(parse_receipt(s.receipt)["tenant"] == case["tenant"] for s in spans)
            good = good and all((parse_receipt(s.receipt)["signal"] == "logs") == s.log for s in spans)
            entries, leaves = derive(head, spans, history, ruleset)
            good = good and [entry.hex() for entry in entries] == segment["entries"]
            good = good and [leaf.hex() for leaf in leaves] == segment["leafHashes"]
            good = good and parse_entry(entries[-1]).get(14, 0) == len(entries) - 1
            yield name, good


def check_judgements(cases):
    for case in cases["valid"]:
        data = unhex(case["judgement"])
        results, findings = parse_judgement(data)
        shown = [{"rule": rule, "result": result, "missing": missing} for rule, result, missing in results]
        found = [
            {"rule": rule, "severity": severity, "detail": detail, "subjects": [leaf.hex() for leaf in subjects]}
            for rule, severity, detail, subjects in findings
        ]
        good = shown == case["results"] and found == case["findings"] and continuity(results, findings) == case["continuity"]
        yield case["name"], good and sha(b"rootspan/judgement/v0\n", data).hex() == case["digest"]
    for case in cases["invalid"]:
        yield case["name"], refused(parse_judgement, unhex(case["judgement"])) == "malformed"


def check_contexts(cases):
    for case in cases["valid"]:
        data = unhex(case["context"])
        good = all(case[name] == statements for name, statements in parse_context(data).items())
        yield case["name"], good and sha(b"rootspan/judgement-context/v0\n", data).hex() == case["digest"]
    for case in cases["invalid"]:
        yield case["name"], refused(parse_context, unhex(case["context"])) == "malformed"


def check_refused(file):
    for case in file["commitments"]:
        # Of evidence one of two digests is the wrong one.
        wrong = len([name for name, good in check_commitments({**NO_COMMITMENTS, case["list"]: [case]}) if not good])
        yield case["name"], wrong == 1
    for case in file["facts"]:
        yield case["name"], [good for _, good in check_facts([case])] == [False]
    segments_file = json.loads((file["directory"] / "segments.json").read_text("utf-8"))
    valid = {case["name"]: case for case in segments_file["cases"]}
    ruleset = segments_file["ruleset"]
    for case in file["segments"]:
        of = valid[case["of"]]
        changed = {**of["segments"][case["segment"]], **case}
        segments = of["segments"][: case["segment"]] + [changed]
        leaf = int(case["where"][5:]) if case["where"].startswith("leaf ") else None
        found = refusal({**of, "segments": segments}, ruleset)
        yield case["name"], found != "accepted" and (leaf is None or found is None or found == leaf)


NO_COMMITMENTS = {"traceSeeds": [], "salts": [], "evidence": [], "claims": [], "claimSets": []}


def refusal(case, ruleset):
    """The first leaf of the last segment that is not what its payload derives to; None for another fault."""
    history = History()
    for number, segment in enumerate(case["segments"]):
        try:
            head, spans = parse_payload(unhex(segment["payload"]))
            need(len({(span.id, span.bytes) for span in spans}) == len(spans), "a span twice")
            entries, _ = derive(head, spans, history, "".join(line + "\n" for line in ruleset).encode())
            said = (head["tenant"].decode(), head["trace"].hex(), head["segment"]) == (case["tenant"], case["traceId"], number)
            receipts = [parse_receipt(s.receipt) for s in spans]
            of = all(r["tenant"] == case["tenant"] and (r["signal"] == "logs") == s.log for r, s in zip(receipts, spans))
        except Malformed:
            return None
        if not said or not of:
            return None
        derived = [entry.hex() for entry in entries]
        for at, (left, right) in enumerate(zip(derived, segment["entries"])):
            if left != right:
                return at
        if len(derived) != len(segment["entries"]):
            return min(len(derived), len(segment["entries"]))
    return "accepted"


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    total = failed = 0
    for name, check in (
        ("entries", check_entries),
        ("receipts", check_receipts),
        ("commitments", check_commitments),
        ("facts", check_facts),
        ("payloads", check_payloads),
        ("segments", check_segments),
        ("judgements", check_judgements),
        ("contexts", check_contexts),
        ("refused", check_refused),
    ):
        cases = json.loads((directory / (name + ".json")).read_text("utf-8"))
        if name == "refused":
            cases["directory"] = directory
        for case, good in check(cases):
            total += 1
            if not good:
                failed += 1
                print("FAILED %s: %s" % (name, case))
    print("%d of %d cases hold" % (total - failed, total))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
