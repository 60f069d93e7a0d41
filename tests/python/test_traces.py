"""Traces, as a collector receives them: a server that speaks OTLP over HTTP and
decodes each batch. Needs a program that is built with the feature otlp."""

import http.server
import json
import threading
import time
import unittest
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from place import NUMBER, Place

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector:
    """Receives spans and keeps them."""

    def __init__(self):
        self.spans, self.resources, self.headers, self.refuse = [], [], [], False
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.refuse:
                    self.send_response(500)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                collector.take(self.path, self.headers, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        assert path == "/v1/traces", path
        assert headers["Content-Type"] == "application/x-protobuf", headers
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.resources.append(values(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self.headers.append(headers)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name, seconds=30):
        until = time.monotonic() + seconds
        while not (found := self.named(name)):
            if time.monotonic() > until:
                raise AssertionError(f"no span {name} among {[span.name for span in self.spans]}")
            time.sleep(0.05)
        return found[0]


def values(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def settings(collector, more=""):
    return f'[trace]\nendpoint = "{collector.endpoint}"\n{more}'


def ask(place, path, headers=(), body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(place.address + path, data=data)
    for name, value in [("X-Auth-ID", "PA_A"), ("X-Auth-Token", place.token), *headers]:
        request.add_header(name, value)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, json.load(answer)


class Traces(unittest.TestCase):
    def setUp(self):
        self.collector = Collector()
        self.addCleanup(self.collector.close)

    def test_a_write_is_one_trace_from_the_caller_to_the_commit(self):
        with Place() as place:
            place.start(settings(self.collector, "ratio = 0\n"), {"OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=abc"})
            parent = ("traceparent", f"00-{TRACE}-{PARENT}-01")
            answered, _ = ask(place, f"/api/v1/manage/numbers/{NUMBER.replace('+', '%2B')}/suspend", [parent], {})
            place.stop()
            request = self.collector.wait_for("POST /api/v1/manage/numbers/{e164}/{verb}")
            self.assertEqual((request.trace_id.hex(), request.parent_span_id.hex()), (TRACE, PARENT))
            self.assertEqual(request.kind, Span.SPAN_KIND_SERVER)
            known = values(request.attributes)
            self.assertEqual(known["http.response.status_code"], 200)
            self.assertEqual(known["rollcall.request_id"], answered["X-Request-Id"])
            [verb], [write], [commit] = (self.collector.named(name) for name in ("verb", "store.write", "store.commit"))
            self.assertEqual(values(verb.attributes)["rollcall.verb"], "suspend")
            self.assertGreater(values(verb.attributes)["rollcall.version"], 0)
            for child, of in ((verb, request), (write, verb), (commit, write)):
                self.assertEqual((child.trace_id, child.parent_span_id), (of.trace_id, of.span_id), child.name)
                self.assertLessEqual(of.start_time_unix_nano, child.start_time_unix_nano)
                self.assertLessEqual(child.end_time_unix_nano, of.end_time_unix_nano)
            self.assertEqual(self.collector.headers[0]["x-collector-key"], "abc")
            self.assertEqual(self.collector.resources[0]["service.name"], "rollcall")
            text = repr(self.collector.spans)
            self.assertNotIn(place.token, text)
            self.assertNotIn("912271264217", text)

    def test_ratios_decide_and_a_stranger_decides_nothing(self):
        with Place() as place:
            place.start(settings(self.collector, "ratio = 0\n"))
            ask(place, "/api/v1/partner/numbers")
            ask(place, "/api/v1/partner/numbers", [("traceparent", f"00-{TRACE}-{PARENT}-00")])
            for broken in ("", "00", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE[1:]}-{PARENT}-01"):
                ask(place, "/api/v1/partner/numbers", [("traceparent", broken)])
            place.stop()
            self.assertEqual(self.collector.spans, [])
            place.start(settings(self.collector, "ratio = 1\n"))
            ask(place, "/api/v1/partner/numbers?status=active")
            place.stop()
            span = self.collector.wait_for("GET /api/v1/partner/numbers")
            self.assertEqual(span.parent_span_id, b"")
            self.assertNotIn("status=active", repr(span))

    def test_a_request_through_a_proxy_counts_as_the_proxys(self):
        # The peer decides: here it is this machine, whatever X-Forwarded-For says.
        with Place() as place:
            place.start(settings(self.collector, "ratio = 0\n"))
            headers = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("X-Forwarded-For", "203.0.113.9")]
            ask(place, "/api/v1/partner/accounts", headers)
            place.stop()
            self.assertEqual(self.collector.wait_for("GET /api/v1/partner/accounts").trace_id.hex(), TRACE)

    def test_calls_are_recorded_by_their_own_ratio(self):
        with Place() as place:
            routing = '[routing]\nhttp = ["127.0.0.1:0"]\n'
            place.start(settings(self.collector, "ratio = 0\ncalls_ratio = 1\n") + routing)
            at = place.logged(r"listening on (http://127\.0\.0\.1:\d+)/route/")
            with urllib.request.urlopen(f"{at}/route/{NUMBER}?call_id=1", timeout=30) as answer:
                cause = json.load(answer)["cause"]
            place.stop()
            call = values(self.collector.wait_for("call").attributes)
            self.assertEqual((call["rollcall.cause"], call["rollcall.code"]), (cause, 404))
            self.assertEqual(cause, "no_destination")

    def test_a_job_is_a_trace_of_its_own(self):
        with Place() as place:
            place.start(settings(self.collector, "ratio = 1\n"))
            wanted = {"verb": "suspend", "numbers": [NUMBER]}
            ask(place, "/api/v1/manage/jobs", body=wanted)
            batch = self.collector.wait_for("jobs")
            self.assertEqual(batch.parent_span_id, b"")
            writes = [span for span in self.collector.named("verb") if span.parent_span_id == batch.span_id]
            self.assertTrue(writes, "the job's write is part of its trace")
            place.stop()

    def test_a_collector_that_fails_is_said_once_and_holds_up_nothing(self):
        with Place() as place:
            self.collector.refuse = True
            place.start(settings(self.collector, "ratio = 1\n"))
            ask(place, "/api/v1/partner/numbers")
            place.logged("takes no traces")
            ask(place, "/api/v1/partner/numbers")
            began = time.monotonic()
            place.stop()
            self.assertLess(time.monotonic() - began, 30)
            self.assertEqual((place.folder / "log").read_text().count("takes no traces"), 1)


if __name__ == "__main__":
    unittest.main()
