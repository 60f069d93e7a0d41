"""Plays the caller, the destinations and a stranger around the proxy of packaging/kamailio/, and tries what each
of them may do: within a dialog, without one, and with destinations that fail. scripts/calls-smoke starts the proxy
with an application for each NAME and runs this once for each face:

    proxy_dialogs.py FACE --proxy PORT --port PORT --held FILE NAME=NUMBER...

Caller and destinations are 127.0.0.1, which may call; the stranger is 127.0.0.9, which may not. The destinations
share --port, by UDP and TCP, and answer a new INVITE with the code that its user part names. For the case of a
restart this program creates --held while two calls are in progress, and goes on when the file is gone.

What always holds:
- A request that is refused reaches nobody. Every request and answer that is sent here has a forged
  X-Rollcall-Cause, and no message that arrives has any. Both are checked at the end, for all cases.
- A case ends at the first expectation that is not met, and the next case runs.
- Every wait is bounded, and all of them together by SECONDS.

Absent: retransmission (but of CANCEL), because loopback loses nothing; media; TLS; IPv6; names that lead to a
private address, which need a DNS server that lies.
"""

import argparse
import dataclasses
import itertools
import pathlib
import re
import secrets
import socket
import sys
import threading
import time

SECONDS = 40
WITHIN = ("INVITE", "UPDATE", "INFO")
FORGED = "X-Rollcall-Cause: forged"
# One count for all requests: Call-ID and CSeq name a request, however it is changed.
cseqs = itertools.count(1)
until = time.monotonic() + SECONDS


class Failure(Exception):
    pass


def expect(met, message):
    if not met:
        raise Failure(message)


def uri(header):
    return re.search(r"<([^>]*)>", header)[1]


class Message:
    def __init__(self, text, transport, send):
        """`send` reaches the sender."""
        self.text, self.transport, self.send = text, transport, send
        self.start, *self.lines = text.rstrip("\r\n").split("\r\n")
        code = re.match(r"SIP/2\.0 (\d+)", self.start)
        self.code = int(code[1]) if code else None
        self.call_id = self["Call-ID"]
        cseq, self.method = self["CSeq"].split()
        self.cseq = int(cseq)

    def all(self, name):
        return [line.partition(":")[2].strip() for line in self.lines if line.lower().startswith(name.lower() + ":")]

    def __getitem__(self, name):
        return next(iter(self.all(name)), "")

    def routes(self):
        return [route.strip() for line in self.all("Record-Route") for route in line.split(",")]

    def user(self):
        """The user part of a request's URI."""
        return re.match(r"\S+ sip:([^@]*)@", self.start + "@")[1]

    def __str__(self):
        return "; ".join([self.start, *(line for line in self.lines if line.startswith(("Reason", "Contact")))])


class Peer:
    """A user agent that answers every request and keeps all that it receives."""

    def __init__(self, address, port=0, tcp=False):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, port))
        self.address, self.port = self.udp.getsockname()
        self.received = []
        self.changed = threading.Condition()
        threading.Thread(target=self.read_datagrams, daemon=True).start()
        if tcp:
            listener = socket.create_server((address, self.port))
            threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def read_datagrams(self):
        while True:
            data, source = self.udp.recvfrom(65535)
            self.receive(data.decode(), "UDP", lambda text, source=source: self.udp.sendto(text.encode(), source))

    def accept(self, listener):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self.read_stream, args=(connection,), daemon=True).start()

    def read_stream(self, connection):
        rest = ""
        while data := connection.recv(65535):
            # No message here has a body.
            *texts, rest = (rest + data.decode()).split("\r\n\r\n")
            for text in texts:
                self.receive(text, "TCP", lambda text: connection.sendall(text.encode()))

    def receive(self, text, transport, send):
        message = Message(text, transport, send)
        with self.changed:
            self.received.append(message)
            self.changed.notify_all()
        if message.code is not None or message.method == "ACK":
            return
        if message.method == "INVITE" and ";tag=" not in message["To"]:
            self.answer(message, int(message.user()))
            return
        self.answer(message, 200)
        if message.method == "CANCEL":
            self.answer(self.wait(lambda sent: is_request(sent, "INVITE", message.call_id), "INVITE to cancel"), 487)

    def answer(self, request, code):
        lines = [f"SIP/2.0 {code} Answer"]
        lines += [line for line in request.lines if re.match("Via|Record-Route|From|Call-ID|CSeq", line)]
        lines.append(f"To: {request['To']}" + ("" if ";tag=" in request["To"] else ";tag=destination"))
        # The Contact of a 302 would be reached if the proxy followed it.
        user = "200" if code == 302 else "peer"
        lines.append(f"Contact: <sip:{user}@{self.address}:{self.port};transport={request.transport.lower()}>")
        request.send("\r\n".join([*lines, FORGED, "Content-Length: 0", "", ""]))

    def find(self, wanted, seconds):
        """The first message that is wanted, or None after a time."""
        end = min(time.monotonic() + seconds, until)
        with self.changed:
            while True:
                if found := next(filter(wanted, self.received), None):
                    return found
                if time.monotonic() >= end:
                    return None
                self.changed.wait(end - time.monotonic())

    def wait(self, wanted, what, seconds=8):
        found = self.find(wanted, seconds)
        if not found:
            out = time.monotonic() >= until
            raise Failure(f"no {what}" + (f": the {SECONDS} s of all cases are over" if out else f" in {seconds} s"))
        return found


def is_request(message, method, call_id, cseq=None):
    same = message.code is None and (message.method, message.call_id) == (method, call_id)
    return same and cseq in (None, message.cseq)


@dataclasses.dataclass
class Side:
    """What one side of a dialog makes its requests of."""

    peer: Peer
    send: object
    local: str
    remote: str
    target: str
    routes: tuple = ()
    call_id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))
    transport: str = "UDP"

    def but(self, **changes):
        return dataclasses.replace(self, **changes)

    def write(self, method, cseq=None, branch=None):
        """Sends a request; returns its CSeq."""
        cseq = cseq or next(cseqs)
        host = f"{self.peer.address}:{self.peer.port}"
        lines = [
            f"{method} {self.target} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} {host};rport;branch=z9hG4bK{branch or secrets.token_hex(8)}",
            *(f"Route: {route}" for route in self.routes),
            "Max-Forwards: 70",
            f"From: {self.local}",
            f"To: {self.remote}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:peer@{host}>",
            FORGED,
            "Content-Length: 0",
        ]
        self.send("\r\n".join([*lines, "", ""]))
        return cseq

    def is_answer(self, message, method, cseq):
        same = (message.call_id, message.method, message.cseq) == (self.call_id, method, cseq)
        return same and message.code is not None

    def final(self, method, cseq):
        wanted = lambda message: self.is_answer(message, method, cseq) and message.code >= 200
        return self.peer.wait(wanted, f"final answer to {method}")

    def ask(self, method, other):
        """A request within a dialog, which reaches the other peer and gets 200."""
        cseq = self.write(method)
        answer = self.final(method, cseq)
        expect(answer.code == 200, f"{method} got {answer}, and not 200")
        found = other.wait(lambda message: is_request(message, method, self.call_id, cseq), f"{method} that arrives")
        if method == "INVITE":
            self.write("ACK", cseq)
            other.wait(lambda message: is_request(message, "ACK", self.call_id, cseq), "ACK of the re-INVITE")
        return found


class Call:
    """An INVITE of the caller by the proxy. After `finish`, `caller` and `destination` are the sides of the dialog."""

    def __init__(self, play, number):
        self.play, self.branch = play, secrets.token_hex(8)
        self.caller = play.side(play.caller, f"sip:{number}@127.0.0.1:{play.port}", remote=f"<sip:{number}@127.0.0.1>")
        self.cseq = self.caller.write("INVITE", branch=self.branch)

    def progress(self, code):
        self.play.caller.wait(lambda m: self.caller.is_answer(m, "INVITE", self.cseq) and m.code == code, f"{code}")

    def cancel(self):
        for _ in range(6):
            self.caller.write("CANCEL", self.cseq, self.branch)
            if self.play.caller.find(lambda message: self.caller.is_answer(message, "CANCEL", self.cseq), 0.5):
                return
        raise Failure("no answer to CANCEL")

    def finish(self):
        """Waits for the final answer, and acknowledges it."""
        answer = self.caller.final("INVITE", self.cseq)
        invited = self.caller.but(remote=answer["To"])
        if answer.code >= 300:
            invited.write("ACK", self.cseq, self.branch)
            return answer
        self.caller = invited.but(target=uri(answer["Contact"]), routes=tuple(reversed(answer.routes())))
        self.caller.write("ACK", self.cseq)
        there, call_id = self.play.destination, self.caller.call_id
        # The proxy's own ACK of a 503 goes to another user.
        wanted = lambda message: is_request(message, "ACK", call_id, self.cseq) and message.user() == "peer"
        there.wait(wanted, "ACK of the 200 at the destination")
        invite = self.invites()[-1]
        self.destination = Side(
            there,
            invite.send,
            local=answer["To"],
            remote=invite["From"],
            target=uri(invite["Contact"]),
            routes=tuple(invite.routes()),
            call_id=call_id,
            transport=invite.transport,
        )
        return answer

    def invites(self):
        """What the destinations received of this INVITE."""
        return [m for m in self.play.destination.received if is_request(m, "INVITE", self.caller.call_id, self.cseq)]


class Play:
    def __init__(self, port, destination_port, held, numbers):
        self.port, self.held, self.numbers = port, held, numbers
        self.caller, self.stranger = Peer("127.0.0.1"), Peer("127.0.0.9")
        self.destination = Peer("127.0.0.1", destination_port, tcp=True)
        self.address = f"sip:200@127.0.0.1:{destination_port}"
        self.proxy_route = f"<sip:127.0.0.1:{port};lr>"
        # Call-ID and CSeq of the requests that must reach nobody, and of those that nobody answers.
        self.refused, self.unanswered = {}, {}

    def side(self, peer, target, **more):
        more.setdefault("remote", "<sip:peer@127.0.0.1>;tag=made-up")
        local = f"<sip:peer@127.0.0.1>;tag={secrets.token_hex(4)}"
        return Side(peer, self.to_proxy(peer), local, target=target, **more)

    def to_proxy(self, peer):
        return lambda text: peer.udp.sendto(text.encode(), ("127.0.0.1", self.port))

    def refuse(self, what, side, method, code):
        branch = secrets.token_hex(8)
        cseq = side.write(method, branch=branch)
        self.refused[side.call_id, cseq] = f"{what}, {method}"
        answer = side.final(method, cseq)
        expect(answer.code == code, f"{what}: {method} got {answer}, and not {code}")
        codes = [message.code for message in side.peer.received if side.is_answer(message, method, cseq)]
        expect(codes == [code], f"{what}: {method} got the answers {codes}, and not {code} alone")
        if method == "INVITE":
            side.but(remote=answer["To"]).write("ACK", cseq, branch)

    def call(self, name, code=200):
        """A call that ends with the code, or else a dialog."""
        call = Call(self, self.numbers[name])
        answer = call.finish()
        expect(answer.code == code, f"the call to {name} got {answer}, and not {code}")
        return call, answer

    def made_up_dialog(self):
        """a stranger's requests with a made-up To tag, and those without one, reach nothing"""
        for method in (*WITHIN, "BYE"):
            side = self.side(self.stranger, self.address, routes=(self.proxy_route,))
            self.refuse("a made-up To tag", side, method, 481)
        side = self.side(self.stranger, self.address, routes=(self.proxy_route,))
        key = side.call_id, side.write("ACK")
        self.refused[key] = self.unanswered[key] = "a made-up To tag, ACK"
        for method, code in (("INVITE", 403), ("BYE", 405)):
            side = self.side(self.stranger, self.address, routes=(self.proxy_route,), remote="<sip:peer@127.0.0.1>")
            self.refuse("no To tag", side, method, code)

    def known_source_without_proof(self):
        """a known source needs the proof within a dialog too"""
        for what, routes in (("a Route without the proof", (self.proxy_route,)), ("no Route", ())):
            for method in (*WITHIN, "BYE"):
                self.refuse(what, self.side(self.caller, self.address, routes=routes), method, 481)

    def both_sides(self):
        """an answered call is changed and ended by both sides"""
        call, _ = self.call("answers")
        for method in WITHIN:
            call.caller.ask(method, self.destination)
            call.destination.ask(method, self.caller)
        call.caller.ask("BYE", self.destination)
        call, _ = self.call("answers")
        call.destination.ask("BYE", self.caller)

    def stolen_proof(self):
        """the proof of a call is of use to its two sides only"""
        call, _ = self.call("answers")
        caller, proof = call.caller, re.search(r";proof=\w+", call.caller.routes[0])
        expect(proof, f"{caller.routes[0]} has no proof")
        own = f"sip:127.0.0.1:{self.port};lr{proof[0]}"
        elsewhere = f"<sip:127.0.0.1:{self.destination.port};lr{proof[0]}>"
        stranger = caller.but(peer=self.stranger, send=self.to_proxy(self.stranger))
        for what, side, code in (
            ("another Call-ID", caller.but(call_id=secrets.token_hex(8)), 481),
            ("another tag of the caller", caller.but(local=caller.local + "x"), 481),
            ("a stranger as the caller", stranger, 403),
            ("the destination to a third party", call.destination.but(target="sip:+449@10.9.9.9"), 403),
            ("the proof in the Request-URI, and no Route", caller.but(target=own, routes=()), 481),
            ("the proof in the Request-URI, and a Route to another", caller.but(target=own, routes=(elsewhere,)), 481),
        ):
            for method in ("INVITE", "INFO"):
                self.refuse(what, side, method, code)
        caller.ask("BYE", self.destination)

    def cannot_be_sent_to(self):
        """a destination that cannot be sent to is skipped"""
        for kind in ("name", "tls"):
            for place in ("first", "second"):
                call, _ = self.call(f"{kind}_{place}")
                call.caller.ask("BYE", self.destination)
            _, answer = self.call(f"{kind}_only", 480)
            right = answer["Reason"] == "Q.850;cause=20" and not answer["Contact"]
            expect(right, f"{kind}_only got {answer}, and not Reason: Q.850;cause=20 without Contact")

    def refusing(self):
        """a destination's 503 alone is 500, and its 302 and 486 end the call"""
        for name, code in (("fails", 500), ("redirects", 480), ("busy", 486)):
            call, answer = self.call(name, code)
            expect(not answer["Contact"] or code == 486, f"{name} shows a Contact: {answer}")
            users = [invite.user() for invite in call.invites()]
            expect(len(set(users)) == 1 and "200" not in users, f"{name}: the INVITE went to {users}")

    def tcp(self):
        """a destination with transport=tcp is called and ended by TCP"""
        for ends in ("caller", "destination"):
            call, _ = self.call("tcp")
            expect(call.destination.transport == "TCP", f"the INVITE came by {call.destination.transport}")
            if ends == "destination":
                call.destination.ask("BYE", self.caller)
            else:
                came = call.caller.ask("BYE", self.destination).transport
                expect(came == "TCP", f"the caller's BYE came by {came}")

    def cancelled(self):
        """CANCEL ends a call with 487, at once and while it rings"""
        for code in (100, 180):
            call = Call(self, self.numbers["rings"])
            call.progress(code)
            call.cancel()
            answer = call.finish()
            expect(answer.code == 487, f"after {code} and CANCEL the call got {answer}, and not 487")
        self.destination.wait(lambda message: is_request(message, "CANCEL", call.caller.call_id), "CANCEL that arrives")

    def restarted(self):
        """calls in progress are ended by both sides after a restart of the proxy"""
        (first, _), (second, _) = self.call("answers"), self.call("answers")
        self.held.touch()
        while self.held.exists():
            expect(time.monotonic() < until, f"no restart of the proxy: {self.held} is still there")
            time.sleep(0.05)
        first.caller.ask("BYE", self.destination)
        second.destination.ask("BYE", self.caller)

    def nothing_came_through(self):
        """no refused request and no forged X-Rollcall-Cause arrived"""
        time.sleep(0.5)
        for peer in (self.caller, self.destination, self.stranger):
            for message in peer.received:
                key, at = (message.call_id, message.cseq), f"{message} at {peer.address}:{peer.port}"
                expect(message.code is not None or key not in self.refused, f"{self.refused.get(key)}: {at}")
                expect(message.code is None or key not in self.unanswered, f"{self.unanswered.get(key)}: {at}")
                expect("x-rollcall" not in message.text.lower(), f"with X-Rollcall-Cause: {at}")

    CASES = (made_up_dialog, known_source_without_proof, both_sides, stolen_proof, cannot_be_sent_to, refusing, tcp,
             cancelled, restarted, nothing_came_through)


def main():
    reader = argparse.ArgumentParser(usage="proxy_dialogs.py FACE --proxy PORT --port PORT --held FILE NAME=NUMBER...")
    reader.add_argument("face")
    reader.add_argument("--proxy", type=int, required=True)
    reader.add_argument("--port", type=int, required=True)
    reader.add_argument("--held", type=pathlib.Path, required=True)
    reader.add_argument("numbers", nargs="+")
    given = reader.parse_args()
    play = Play(given.proxy, given.port, given.held, dict(pair.split("=", 1) for pair in given.numbers))
    failed = 0
    for case in play.CASES:
        try:
            case(play)
            print(f"ok: {given.face} {case.__doc__}", flush=True)
        except Failure as failure:
            failed += 1
            print(f"FAILED: {given.face} {case.__doc__}: {failure}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
