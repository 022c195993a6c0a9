#!/usr/bin/python3
"""A network with name servers, other servers, and clients that connect to them by name.

Run in a network and mount namespace of its own, as root:
    lab.py DIRECTORY CONNECTIONS
Starts the servers, lets each client in DIRECTORY and each installed one make its share of CONNECTIONS connections, and prints
one line of JSON for each connection:
    {"client": kind, "name": by which it connected, "address": of the server, "port": of the client}.

The names end in .test:
    one-N    ten names of one address
    chain-N  two aliases before the address
    six-N    IPv6 only
    large-N  the response over UDP is truncated, so that the query is repeated over TCP
    plain-N  one IPv4 address
"""

import asyncio
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

DIRECTORY, CONNECTIONS = sys.argv[1], int(sys.argv[2])
SERVER, STUB, UPSTREAM = "127.0.0.53", "127.0.0.54", "127.0.0.55"
PORT_PLAIN = 7000
A, CNAME, AAAA = 1, 5, 28
IPV6 = "fd00::53:"

lines = threading.Lock()
connection_counts = {}


def report(client, name, address, port):
    with lines:
        connection_counts[client] = connection_counts.get(client, 0) + 1
        print(json.dumps({"client": client, "name": name, "address": address, "port": port}), flush=True)


# Name servers


def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(owner, record_type, data, ttl=3):
    return encode_name(owner) + struct.pack(">HHIH", record_type, 1, ttl, len(data)) + data


def respond(query, is_stream):
    at, name = 12, []
    while query[at]:
        name.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    (record_type,) = struct.unpack(">H", query[at + 1 : at + 3])
    question, name = query[12 : at + 5], ".".join(name)
    host = name.lower().removesuffix(".test")
    flags, records = 0x8180, []
    group, _, number = host.partition("-")
    number = int(number) % 200 + 1 if number.isdigit() else 0
    if not name.lower().endswith(".test") or not number:
        flags |= 3
    elif group == "six":
        if record_type == AAAA:
            records.append(record(name, AAAA, socket.inet_pton(socket.AF_INET6, f"{IPV6}{number:x}")))
    elif record_type == A:
        owner = name
        if group == "chain":
            for alias in (f"x{number}.cdn.test", f"Edge{number}.CDN.test"):
                records.append(record(owner, CNAME, encode_name(alias)))
                owner = alias
        if group == "large" and not is_stream:
            flags |= 0x0200
        else:
            last = {"one": "1.1", "chain": f"2.{number}", "large": f"3.{number}", "plain": f"4.{number}"}[group]
            records.append(record(owner, A, socket.inet_aton(f"127.9.{last}")))
    head = struct.pack(">HHHHHH", struct.unpack(">H", query[:2])[0], flags, 1, len(records), 0, 0)
    return head + question + b"".join(records)


def serve_datagrams(address, responder):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, client = server.recvfrom(4096)
        try:
            server.sendto(responder(query, False), client)
        except OSError as error:
            print(f"name server {address}: {error}", file=sys.stderr)


def receive_exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def serve_stream(address, port, responder, context=None):
    server = socket.create_server((address, port), backlog=200)

    def serve_connection(connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                while True:
                    (length,) = struct.unpack(">H", receive_exactly(connection, 2))
                    message = responder(receive_exactly(connection, length), True)
                    connection.sendall(struct.pack(">H", len(message)) + message)
        except OSError:
            pass

    while True:
        threading.Thread(target=serve_connection, args=(server.accept()[0],), daemon=True).start()


def unverified_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


UPSTREAM_CONTEXT = unverified_context()


def forward(query, is_stream):
    """Forwards a query over TLS, as a stub resolver does."""
    connection = socket.create_connection((UPSTREAM, 853))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with UPSTREAM_CONTEXT.wrap_socket(connection) as upstream:
        upstream.sendall(struct.pack(">H", len(query)) + query)
        return receive_exactly(upstream, struct.unpack(">H", receive_exactly(upstream, 2))[0])


# Servers of the connections


def server_names_of(context):
    """Returns a dictionary that is filled with the server name (SNI) of each connection."""
    server_names = {}
    context.sni_callback = lambda connection, name, _: server_names.__setitem__(connection, name)
    return server_names


async def make_handler(context=None):
    server_names = server_names_of(context) if context else {}

    async def handle(reader, writer):
        remote, local = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        try:
            head = await reader.readline()
            host, agent = head.decode().strip(), "plain"
            while head.strip() and local[1] != PORT_PLAIN:
                key, _, value = head.decode().partition(":")
                host = value.strip() if key.lower() == "host" else host
                agent = value.strip() if key.lower() == "user-agent" else agent
                head = await reader.readline()
            if local[1] == PORT_PLAIN:
                agent, _, host = host.partition(" ")
            connection = writer.get_extra_info("ssl_object")
            host = server_names.pop(connection, None) or host
            report(agent, host.split(":")[0], local[0], remote[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        writer.close()

    return handle


def certificate():
    path = os.path.join(DIRECTORY, "certificate.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=lab", "-keyout", path, "-out", path + ".crt"],
        check=True,
        capture_output=True,
    )
    with open(path, "ab") as both, open(path + ".crt", "rb") as crt:
        both.write(crt.read())
    return path


def start_servers():
    pem = certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    start_thread = lambda function, *arguments: threading.Thread(target=function, args=arguments, daemon=True).start()
    start_thread(serve_datagrams, SERVER, respond)
    start_thread(serve_stream, SERVER, 53, respond)
    start_thread(serve_stream, UPSTREAM, 853, respond, context)
    start_thread(serve_datagrams, STUB, forward)
    start_thread(serve_stream, STUB, 53, forward)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def start():
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
        for host in ("0.0.0.0", "::"):
            family = socket.AF_INET6 if host == "::" else socket.AF_INET
            for port, tls_context in ((80, None), (PORT_PLAIN, None), (443, tls)):
                server = socket.create_server((host, port), family=family, backlog=1000)
                await asyncio.start_server(await make_handler(tls_context), sock=server, ssl=tls_context)

    asyncio.run_coroutine_threadsafe(start(), loop).result()


def write_resolv_conf(server):
    with open("/etc/resolv.conf", "w") as file:
        file.write(f"nameserver {server}\noptions timeout:5 attempts:3\n")


# Clients


def names(count, groups=("one", "chain", "six", "large", "plain")):
    """Yields `count` names, of each group in turn. Group `one` has only ten names."""
    for number in range(count):
        group = groups[number % len(groups)]
        yield f"{group}-{number // len(groups) % (10 if group == 'one' else 150)}.test"


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=300, **options)
    if done.returncode:
        print(f"{command[0]}: {done.returncode}: {done.stderr.decode(errors='replace')[-400:]}", file=sys.stderr)


def urls(count, scheme="https"):
    return [f"{scheme}://{name}/" for name in names(count)]


def curl(count):
    for number, url in enumerate(urls(count // 2)):
        version = "1.2" if number % 2 else "1.3"
        run(["curl", "-sSko", "/dev/null", "-A", "curl", f"--tlsv{version}", "--tls-max", version, "-m", "20", url])
    # Several connections in one process, one after the other and in parallel.
    for scheme, more in (("http", []), ("https", []), ("https", ["--parallel"])):
        for part in range(3):
            some = urls(count // 18, scheme)[:: 1 if part else -1]
            run(["curl", "-sSkA", "curl-many", "-m", "100", *more, *some])


def python(count):
    run(["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "client.py"), str(count)])


def quic(count):
    command = [os.path.join(DIRECTORY, "quic"), certificate(), *names(count, ("one", "plain"))]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=300)
    for line in done.stdout.decode().splitlines():
        name, address, port = line.split()
        report("quic", name, address, int(port))


def node(count):
    script = os.path.join(os.path.dirname(__file__), "client.js")
    run(["node", script, str(count)], env={**os.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0"})


def compiled(kind):
    def client(count):
        # musl before 1.2.4 does not repeat a query over TCP; glibc prefers what has no IPv6 address.
        some = list(names(count, ("one", "chain", "plain")))
        for at in range(0, len(some), 50):
            run([os.path.join(DIRECTORY, kind), kind, *some[at : at + 50]])

    return client


def container(count):
    root = os.path.join(DIRECTORY, "container")
    prepare = f"mount --bind {root} {root} && cd {root} && pivot_root . old && umount -l old && exec /client container"
    for at in range(0, count, 25):
        some = " ".join(list(names(count))[at : at + 25])
        run(["unshare", "--mount", "--pid", "--fork", "--cgroup", "sh", "-c", f"{prepare} {some}"])


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # getaddrinfo(3) with AI_ADDRCONFIG looks up IPv4 addresses only if an interface other than loopback has one.
    subprocess.run(["ip", "link", "add", "lab0", "type", "veth", "peer", "name", "lab1"], check=True)
    subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", "lab0"], check=True)
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write("10000 65000")
    for number in range(1, 202):
        subprocess.run(["ip", "address", "add", f"{IPV6}{number:x}/128", "dev", "lo"], check=True)
    start_servers()
    clients = {"curl": curl, "python": python, "quic": quic, "node": node, "container": container}
    clients |= {kind: compiled(kind) for kind in ("static", "musl", "musl-static")}
    shares = {"curl": 12, "python": 40, "quic": 4, "node": 20, "container": 4, "static": 6, "musl": 7, "musl-static": 7}
    for number, (kind, client) in enumerate(clients.items()):
        # Every second client uses the stub resolver.
        write_resolv_conf(STUB if number % 2 else SERVER)
        begin = time.monotonic()
        try:
            client(max(1, CONNECTIONS * shares[kind] // 100))
        except OSError as error:
            print(f"skipped: {kind} ({error})", file=sys.stderr)
        print(f"{kind}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
    print(f"connections: {connection_counts}", file=sys.stderr)


main()
