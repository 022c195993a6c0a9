"""A current ClickHouse for the tests: chdb, the engine in a Python module, behind the HTTP interface as far as picosnitch uses it.

chdb_server.py PORT DIRECTORY: accounts are admin (without a password), owner and agent (with the password in the environment).
"""

import http.server
import os
import re
import sys
import threading
import urllib.parse

import chdb.session

PORT, DIRECTORY = int(sys.argv[1]), sys.argv[2]
PASSWORDS = {"admin": "", "owner": os.environ["PASSWORD"], "agent": os.environ["PASSWORD"]}
SESSION = chdb.session.Session(DIRECTORY)
LOCK = threading.Lock()


def answer(user, password, parameters, sql):
    if PASSWORDS.get(user) != password:
        return 403, f"Code: 516. DB::Exception: {user}: Authentication failed. (AUTHENTICATION_FAILED)".encode()
    database = parameters.pop("database", "default")
    for name in ("wait_end_of_query", "query_id"):
        parameters.pop(name, None)
    settings = ", ".join(f"{name} = {value}" for name, value in parameters.items())
    if settings and " FORMAT " in sql:
        sql = sql.replace(" FORMAT ", f" SETTINGS {settings} FORMAT ", 1)
    elif settings:
        sql = f"{sql} SETTINGS {settings}"
    with LOCK:
        try:
            SESSION.query(f"USE `{database}`")
            return 200, SESSION.query(sql, "TabSeparated").bytes()
        except Exception as error:  # Whatever the engine says is the answer.
            return 500, str(error).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer in one packet: a second one would wait 40 ms for the receipt of the first.
    wbufsize = -1

    def do_GET(self):
        self.reply(200, b"Ok.\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        # Headers are read as Latin-1.
        account = [self.headers.get(name, "").encode("latin-1").decode() for name in ("x-clickhouse-user", "x-clickhouse-key")]
        self.reply(*answer(*account, parameters, body.decode()))

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
