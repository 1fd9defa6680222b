"""A backend that is there to be killed. It writes a request down before it answers it, so that what reached it is known
afterwards, and takes a moment for each, so that some are under way when it dies.

    backend.py ADDRESS PORT JOURNAL

It says `listening PORT` when it serves, and ends with its standard input. While there is a file JOURNAL.slow, a POST takes
long, and is marked as such.
"""

import http.server
import os
import sys
import threading
import time

ADDRESS, PORT, JOURNAL = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PAUSES = {"GET": 0.003, "PUT": 0.003, "POST": 0.025}
LONG = 5


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def reply(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/.health":
            slow = self.command == "POST" and os.path.exists(JOURNAL + ".slow")
            mark = " slow" if slow else ""
            os.write(journal, f"{self.command} {self.headers['X-Number']}{mark}\n".encode())
            time.sleep(LONG if slow else PAUSES[self.command])
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        self.wfile.write(head.encode() + b"{}")

    do_GET = do_POST = do_PUT = reply

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A gateway may end a connection whenever it likes."""


journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
server = Server((ADDRESS, PORT), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", server.server_address[1], flush=True)
sys.stdin.read()
