"""Spans by the OpenTelemetry SDK for Python, with its own settings from the environment; prints their parents."""

import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if sys.argv[1] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("shop", "1.0")
spans = []

with tracer.start_as_current_span("order", kind=trace.SpanKind.SERVER) as order:
    spans.append(order)
    order.set_attributes({"name": "Grüße 茶", "count": 3, "ratio": 0.5, "paid": True, "tags": ["a", "b"]})
    for item in range(40):
        with tracer.start_as_current_span(f"item {item}", links=[trace.Link(order.get_span_context())]) as step:
            spans.append(step)
            step.add_event("picked", {"shelf": item})
            with tracer.start_as_current_span("pack") as pack:
                spans.append(pack)
                if item % 7 == 0:
                    pack.record_exception(ValueError("no box"))
                    pack.set_status(trace.StatusCode.ERROR)

provider.shutdown()
print(
    json.dumps(
        {
            "traceId": format(order.context.trace_id, "032x"),
            "parents": {
                format(one.context.span_id, "016x"): format(one.parent.span_id, "016x") if one.parent else ""
                for one in spans
            },
        }
    )
)
