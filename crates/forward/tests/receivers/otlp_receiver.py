"""A receiver of OTLP over HTTP that decodes with the packages of OpenTelemetry: otlp_receiver.py DIRECTORY PORT.

It adds what it takes to DIRECTORY/requests, one JSON object a line, and does as DIRECTORY/answer says: `200`; a status, perhaps with
Retry-After (`503 2`); `die`, which takes a request and ends before it answers; `partial N`; `at-most N`, which takes N log records at
once.
"""

import gzip
import http.server
import json
import os
import sys
import time

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics

directory, port = sys.argv[1], int(sys.argv[2])
MESSAGES = {
    "/base/v1/logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse, "rejected_log_records"),
    "/base/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse, "rejected_data_points"),
}


def log_records(request):
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        began = time.time()
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.headers["content-type"] == "application/x-protobuf", self.headers["content-type"]
        request_type, response_type, rejected = MESSAGES[self.path]
        request, response = request_type.FromString(body), response_type()
        with open(os.path.join(directory, "answer")) as file:
            answer = file.read().split()
        status, headers, body = 200, {}, b""
        if answer[0] == "partial":
            setattr(response.partial_success, rejected, int(answer[1]))
            response.partial_success.error_message = "too \x1b[31mred"
        elif answer[0] == "at-most":
            if self.path.endswith("logs") and log_records(request) > int(answer[1]):
                status = 413
        elif answer[0] != "die":
            status = int(answer[0])
            if len(answer) > 1:
                headers["Retry-After"] = answer[1]
        if status == 200:
            body = response.SerializeToString()
        else:
            # google.rpc.Status: code 3, message "no".
            body = b"\x08\x03\x12\x02no"
        line = {
            "path": self.path,
            "time": began,
            "status": status,
            "authorization": self.headers.get("authorization"),
            "encoding": self.headers.get("content-encoding"),
            "request": MessageToDict(request, preserving_proto_field_name=True),
        }
        with open(os.path.join(directory, "requests"), "a") as file:
            file.write(json.dumps(line) + "\n")
        if answer[0] == "die":
            os.kill(os.getpid(), 9)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
