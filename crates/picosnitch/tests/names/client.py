"""Connects by name: client.py COUNT."""

import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

GROUPS = ("one", "chain", "six", "large", "plain")


def name_of(number):
    group = GROUPS[number % len(GROUPS)]
    return f"{group}-{number // len(GROUPS) % (10 if group == 'one' else 150)}.test"


def tls_context(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def connect_plain(name):
    with socket.create_connection((name, 7000), timeout=20) as connection:
        connection.sendall(f"python-plain {name}\n".encode())
        connection.recv(100)


def connect_tls(number):
    name = name_of(number)
    version = ssl.TLSVersion.TLSv1_2 if number % 2 else ssl.TLSVersion.TLSv1_3
    with socket.create_connection((name, 443), timeout=20) as connection:
        with tls_context(version).wrap_socket(connection, server_hostname=name) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: python-tls\r\n\r\n".encode())
            connection.recv(100)


def connect_by_gethostbyname(name):
    """Resolves with gethostbyname(3) and sends an HTTP request in pieces."""
    with socket.socket() as connection:
        connection.connect((socket.gethostbyname(name), 80))
        for piece in (b"GET / HTTP/1.1\r\nUser-Agent: python-old\r\n", f"Host: {name}\r\n\r\n".encode()):
            connection.sendall(piece)
        connection.recv(100)


count = int(sys.argv[1])
for number in range(count // 4):
    connect_plain(name_of(number))
for number in range(count // 4):
    name = name_of(number)
    connect_by_gethostbyname(name if not name.startswith("six") else name.replace("six", "plain"))
# In parallel from several threads, so that only the handshakes tell the connections apart.
with ThreadPoolExecutor(8) as pool:
    list(pool.map(connect_tls, range(count // 2)))
