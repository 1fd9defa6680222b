"""gRPC through the gateway, with Python's grpcio as server and as client.

It prints the port of its server, reads the gateway's address from standard input, and then calls that server through the
gateway. Each function `check_...` is one check, run in order; what fails is printed, and the exit code is 1. No code is
generated: methods are registered by name and messages are plain bytes.
"""

import concurrent.futures
import json
import os
import queue
import sys
import threading
import traceback

import grpc

# Nothing here takes long; whatever does not come ends the check.
PATIENCE = 30
LARGE = 3 << 20
OPTIONS = [("grpc.max_receive_message_length", LARGE + 1024), ("grpc.enable_http_proxy", 0)]
BINARY = bytes(range(256))


class Origin:
    """The server behind the gateway."""

    def __init__(self):
        self.hanging = queue.Queue()
        self.together = threading.Barrier(100)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
            "Squeezed": grpc.unary_unary_rpc_method_handler(self.squeezed),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Meet": grpc.unary_unary_rpc_method_handler(self.meet),
        }
        # All of the hundred calls that meet are in a handler at the same time.
        threads = concurrent.futures.ThreadPoolExecutor(max_workers=110)
        self.server = grpc.server(threads, options=OPTIONS)
        generic = grpc.method_handlers_generic_handler("check.Calls", handlers)
        self.server.add_generic_rpc_handlers((generic,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def unary(self, request, context):
        return b"re: " + request

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def sum(self, requests, context):
        return b"%d" % sum(int(request) for request in requests)

    def chat(self, requests, context):
        for request in requests:
            yield request.upper()

    def fail(self, request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", BINARY), ("x-why", "because")))
        context.abort(grpc.StatusCode(STATUSES[int(request)]), "no: 100% söße\n")

    def fail_late(self, request, context):
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "after the first")

    def metadata(self, request, context):
        got = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-initial", got["x-text"]), ("x-initial-bin", got["x-data-bin"])))
        context.set_trailing_metadata((("x-trailing", got["x-text"]), ("x-trailing-bin", got["x-data-bin"])))
        return json.dumps({name: got.get(name) for name in ("x-text", "user-agent", "x-forwarded-host")}).encode()

    def squeezed(self, request, context):
        context.set_compression(grpc.Compression.Gzip)
        return request + request

    def hang(self, request, context):
        """Tells who asks when the call has come, and how much of its time was left, and then when it is over."""
        over = threading.Event()
        if context.add_callback(over.set):
            self.hanging.put((context.time_remaining(), over))
            over.wait(PATIENCE)
        return b"too late"

    def meet(self, request, context):
        self.together.wait(PATIENCE)
        return request


STATUSES = {status.value[0]: status.value for status in grpc.StatusCode}


class Client:
    """A channel to the gateway."""

    def __init__(self, address, compression=None):
        self.channel = grpc.insecure_channel(address, options=OPTIONS, compression=compression)

    def unary(self, method):
        return self.channel.unary_unary(f"/check.Calls/{method}")

    def server_stream(self, method):
        return self.channel.unary_stream(f"/check.Calls/{method}")

    def client_stream(self, method):
        return self.channel.stream_unary(f"/check.Calls/{method}")

    def both_streams(self, method):
        return self.channel.stream_stream(f"/check.Calls/{method}")


def equal(got, wanted):
    assert got == wanted, f"got {got!r:.300}, not {wanted!r:.300}"


def error_of(call):
    """The error that a call ends with."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"answered {answer!r:.300} instead of an error")


def check_unary(client, origin, address):
    equal(client.unary("Unary")(b"hello", timeout=PATIENCE), b"re: hello")
    equal(client.unary("Unary")(b"", timeout=PATIENCE), b"re: ")


def check_server_streaming(client, origin, address):
    answers = list(client.server_stream("Count")(b"1000", timeout=PATIENCE))
    equal(answers, [b"%d" % number for number in range(1000)])
    equal(list(client.server_stream("Count")(b"0", timeout=PATIENCE)), [])


def check_client_streaming(client, origin, address):
    requests = (b"%d" % number for number in range(1000))
    equal(client.client_stream("Sum")(requests, timeout=PATIENCE), b"499500")
    equal(client.client_stream("Sum")(iter(()), timeout=PATIENCE), b"0")


def check_both_sides_take_turns(client, origin, address):
    """Each message is sent only after the answer to the one before has come."""
    outgoing = queue.Queue()
    answers = client.both_streams("Chat")(iter(outgoing.get, None), timeout=PATIENCE)
    for number in range(50):
        outgoing.put(b"word %d" % number)
        equal(next(answers), b"WORD %d" % number)
    outgoing.put(None)
    equal(list(answers), [])
    equal(answers.code(), grpc.StatusCode.OK)


def check_statuses_and_details(client, origin, address):
    for number, status in STATUSES.items():
        if number == 0:
            continue
        error = error_of(lambda: client.unary("Fail")(b"%d" % number, timeout=PATIENCE))
        equal(error.code().value, status)
        equal(error.details(), "no: 100% söße\n")
        trailing = dict(error.trailing_metadata())
        equal((trailing["grpc-status-details-bin"], trailing["x-why"]), (BINARY, "because"))


def check_an_error_after_messages(client, origin, address):
    answers = client.server_stream("FailLate")(b"", timeout=PATIENCE)
    equal(next(answers), b"first")
    error = error_of(lambda: next(answers))
    equal((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "after the first"))


def check_metadata_both_ways(client, origin, address):
    sent = (("x-text", "some text"), ("x-data-bin", BINARY))
    answer, call = client.unary("Metadata").with_call(b"", metadata=sent, timeout=PATIENCE)
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    equal((initial["x-initial"], initial["x-initial-bin"]), ("some text", BINARY))
    equal((trailing["x-trailing"], trailing["x-trailing-bin"]), ("some text", BINARY))
    equal(call.code(), grpc.StatusCode.OK)
    got = json.loads(answer)
    equal((got["x-text"], got["x-forwarded-host"]), ("some text", address.rsplit(":", 1)[0]))
    assert "grpc-python" in got["user-agent"], got


def check_an_unknown_method(client, origin, address):
    error = error_of(lambda: client.unary("Unknown")(b"", timeout=PATIENCE))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)


def check_a_deadline_is_kept_at_both_ends(client, origin, address):
    error = error_of(lambda: client.unary("Hang")(b"", timeout=0.5))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    left, over = origin.hanging.get(timeout=PATIENCE)
    assert left < 1, f"the server was given {left} s"
    assert over.wait(PATIENCE), "the call goes on at the server"


def check_a_cancelled_call_is_cancelled_at_the_server(client, origin, address):
    call = client.unary("Hang").future(b"", timeout=PATIENCE)
    _, over = origin.hanging.get(timeout=PATIENCE)
    call.cancel()
    assert over.wait(PATIENCE), "the call goes on at the server"
    equal(call.code(), grpc.StatusCode.CANCELLED)


def check_large_messages(client, origin, address):
    message = bytes(range(256)) * (LARGE // 256)
    assert client.unary("Unary")(message, timeout=PATIENCE) == b"re: " + message, "the message changed"
    answers = client.both_streams("Chat")(iter([message.lower()] * 3), timeout=PATIENCE)
    assert list(answers) == [message.upper()] * 3, "the messages changed"


def check_a_hundred_calls_at_a_time(client, origin, address):
    """None is answered before all have arrived."""
    calls = [client.unary("Meet").future(b"%d" % number, timeout=PATIENCE) for number in range(100)]
    equal([call.result(PATIENCE) for call in calls], [b"%d" % number for number in range(100)])


def check_compressed_messages(client, origin, address):
    """Without `grpc-encoding`, either side would refuse what the other compressed."""
    squeezing = Client(address, grpc.Compression.Gzip)
    message = b"a" * 100_000
    equal(squeezing.unary("Squeezed")(message, timeout=PATIENCE), message + message)


def check_an_upstream_that_is_gone(client, origin, address):
    """Last: the server stops here. The answer is Kong's: INTERNAL, with the name of that code as its message."""
    origin.server.stop(None).wait(PATIENCE)
    error = error_of(lambda: client.unary("Unary")(b"hello", timeout=PATIENCE))
    equal((error.code(), error.details()), (grpc.StatusCode.INTERNAL, "Internal"))


def main():
    origin = Origin()
    print(f"port {origin.port}", flush=True)
    address = sys.stdin.readline().strip()
    client = Client(address)
    failed = 0
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check(client, origin, address)
            except Exception:
                failed += 1
                print(f"{name} failed:\n{traceback.format_exc(limit=2)}", flush=True)
    print(f"{failed} failed", flush=True)
    # Not sys.exit: the thread of a call that never ends would keep the process.
    os._exit(1 if failed else 0)


main()
