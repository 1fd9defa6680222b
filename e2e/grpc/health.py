"""Active checks of gRPC services, with the health service of grpcio-health-checking as the one that is asked.

It is given the files of a certificate and its key, and the same of a stranger's. It prints the ports of its servers, those
in cleartext first, reads the gateway's address from standard input, and then calls the servers through the gateway, which
knows them as the targets of two upstreams. Each answers with its name. Each function `check_...` is one check, run in
order; what fails is printed, and the exit code is 1.
"""

import concurrent.futures
import os
import sys
import time
import traceback

# It would tell of each handshake that the gateway breaks off.
os.environ["GRPC_VERBOSITY"] = "NONE"

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PATIENCE = 30
# The service whose health is asked for.
WATCHED = "check.Watched"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.UNKNOWN
# Enough for every target to be asked several times, whatever is between them.
CALLS = 24


class Health(health.HealthServicer):
    """Counts how often it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def Check(self, request, context):
        self.asked += 1
        return super().Check(request, context)


class Server:
    """A server that says who it is, and whether it serves unless it has no health service."""

    def __init__(self, name, credentials=None, has_health=True):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
        who = grpc.unary_unary_rpc_method_handler(lambda request, context: name.encode())
        for service in ("check.Clear", "check.Secure"):
            handler = grpc.method_handlers_generic_handler(service, {"Who": who})
            self.server.add_generic_rpc_handlers((handler,))
        self.health = Health()
        if has_health:
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
            self.health.set(WATCHED, SERVING)
        if credentials:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()


class Side:
    """The servers of one upstream, and how to call them through the gateway."""

    def __init__(self, service, credentials=None):
        self.service = service
        self.steady = Server("steady", credentials)
        self.changing = Server("changing", credentials)
        self.mute = Server("mute", credentials, has_health=False)
        self.who = None

    def servers(self):
        return [self.steady, self.changing, self.mute]

    def connect(self, channel):
        self.who = channel.unary_unary(f"/check.{self.service}/Who")

    def answering(self):
        """The names of those who answer, and the codes of calls that fail."""
        found = set()
        for _ in range(CALLS):
            try:
                found.add(self.who(b"", timeout=PATIENCE).decode())
            except grpc.RpcError as error:
                found.add(error.code().name)
        return found

    def settles(self, wanted):
        """It comes to that, and stays so over further probes."""
        end = time.monotonic() + PATIENCE
        while self.answering() != wanted and time.monotonic() < end:
            time.sleep(0.02)
        self.stays(wanted)

    def stays(self, wanted):
        found, before = self.answering(), self.changing.health.asked
        end = time.monotonic() + PATIENCE
        while found == wanted and self.changing.health.asked < before + 3 and time.monotonic() < end:
            found = self.answering()
        assert found == wanted, f"{self.service}: {found} answer instead of {wanted}"
        assert self.changing.health.asked >= before + 3, "the health is not asked for"


def check_who_has_no_health_service_gets_no_calls(side):
    """UNIMPLEMENTED is no SERVING. Nor is a certificate of an authority that is not trusted."""
    side.settles({"steady", "changing"})


def check_who_does_not_serve_gets_no_calls_until_it_does(side):
    for word in (NOT_SERVING, UNKNOWN):
        side.changing.health.set(WATCHED, word)
        side.settles({"steady"})
        side.changing.health.set(WATCHED, SERVING)
        side.settles({"steady", "changing"})


def check_only_the_service_that_is_named_counts(side):
    side.changing.health.set("", NOT_SERVING)
    side.changing.health.set("check.Other", NOT_SERVING)
    side.stays({"steady", "changing"})


def check_a_server_that_is_about_to_stop_gets_no_calls(side):
    side.changing.health.enter_graceful_shutdown()
    side.settles({"steady"})


def check_nobody_is_left(side):
    side.steady.health.set(WATCHED, NOT_SERVING)
    side.settles({"UNAVAILABLE"})


def credentials(certificate, key):
    with open(certificate, "rb") as shown, open(key, "rb") as secret:
        return grpc.ssl_server_credentials([(secret.read(), shown.read())])


def main():
    certificate, key, other, other_key = sys.argv[1:]
    clear, secure = Side("Clear"), Side("Secure", credentials(certificate, key))
    # Held, or it would end.
    stranger = Server("stranger", credentials(other, other_key))
    servers = clear.servers() + secure.servers() + [stranger]
    print("port", *[server.port for server in servers], flush=True)
    address = sys.stdin.readline().strip()
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    failed = 0
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            for side in (clear, secure):
                side.connect(channel)
                try:
                    check(side)
                except Exception:
                    failed += 1
                    print(f"{name} failed ({side.service}):\n{traceback.format_exc(limit=3)}", flush=True)
    print(f"{failed} failed", flush=True)
    # Not sys.exit: the thread of a call that never ends would keep the process.
    os._exit(1 if failed else 0)


main()
