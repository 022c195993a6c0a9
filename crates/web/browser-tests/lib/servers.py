#!/usr/bin/python3
"""The other side of all traffic of the lab: a name server, web servers and an echo over UDP, in a network of their own.

    servers.py HOSTS
HOSTS is a JSON file: {"hosts": {name: address}, "ports": [TCP ports], "echo": [addresses], "datagrams": [UDP ports of those]}.

A web server answers GET /N with N bytes, GET /N/RATE with N bytes at RATE bytes per second, and takes what is PUT.
"""

import http.server
import json
import socket
import struct
import sys
import threading
import time

with open(sys.argv[1]) as file:
    LAB = json.load(file)
NAME_SERVER = "192.168.1.1"


def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    address = LAB["hosts"].get(".".join(labels).lower())
    record = b""
    if address and kind == 1:
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
    flags = 0x8180 if address else 0x8183
    head = query[:2] + struct.pack(">HHHHH", flags, 1, 1 if record else 0, 0, 0)
    return head + query[12 : at + 5] + record


def serve_datagrams(address, port, respond):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    while True:
        message, client = server.recvfrom(65535)
        server.sendto(respond(message), client)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = [int(part) for part in self.path.split("/") if part.isdigit()]
        size = parts[0] if parts else 0
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if len(parts) < 2:
            self.wfile.write(bytes(size))
            return
        step = max(1, parts[1] // 10)
        while size > 0:
            self.wfile.write(bytes(min(size, step)))
            size -= step
            time.sleep(0.1)

    def do_PUT(self):
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200

    def handle_error(self, request, client_address):
        # A client that ends in the middle is what some tests want.
        pass


def start(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()


start(serve_datagrams, NAME_SERVER, 53, answer)
for place in LAB["echo"]:
    for port in LAB["datagrams"]:
        start(serve_datagrams, place, port, lambda message: message)
for port in LAB["ports"]:
    start(Server(("0.0.0.0", port), Handler).serve_forever)
print("ready", flush=True)
threading.Event().wait()
