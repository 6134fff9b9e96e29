#!/usr/bin/env python3
"""A small Longline client, written from proto/README.md and client.proto alone. No libraries.

    mini_client.py HOST PORT PRODUCT USER [--token T] [--count N]

Prints `id payload` for each message, acknowledges it, and ends after N messages.
"""

import argparse
import random
import socket
import struct
import sys
import time

HELLO, WELCOME, BOUND, PUSH, ACK, PING, PONG, DIRECTIVE, CLOSE = 1, 2, 5, 6, 7, 10, 11, 12, 13
LONGEST = {WELCOME: 8192, BOUND: 1024, PUSH: 71680, 9: 1024, PONG: 0, DIRECTIVE: 1024, CLOSE: 1024}
OK, UNAVAILABLE, REDELIVERED, TRANSIENT, CLIENT_GONE = 1, 8, 1, 8, 1007


# --- protobuf, as much as is needed ---------------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(tag, number):
    return varint(tag << 3) + varint(number) if number else b""


def bytes_field(tag, data):
    return varint(tag << 3 | 2) + varint(len(data)) + data if data else b""


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a varint that does not end")


def fields(message):
    """(tag, value) of each field: a number, or bytes."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = read_varint(message, at)
        elif kind == 1:
            value, at = struct.unpack_from("<Q", message, at)[0], at + 8
        elif kind == 2:
            length, at = read_varint(message, at)
            value, at = message[at : at + length], at + length
        elif kind == 5:
            value, at = struct.unpack_from("<I", message, at)[0], at + 4
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, value


# --- frames ---------------------------------------------------------------------------------------------------------------


def frame(kind, body=b""):
    return bytes([kind]) + varint(len(body)) + body


def hello(options, counter):
    bind = number_field(2, options.product) + bytes_field(3, options.user.encode())
    bind += bytes_field(4, options.token.encode())
    device = f"mini-{options.user}"[:100].encode("ascii", "replace")
    body = bytes_field(1, device) + number_field(2, counter) + bytes_field(3, b"mini/1")
    return b"LL\x01\x00" + frame(HELLO, body + bytes_field(6, bind))


def take_frame(data):
    """The first frame of the buffer as (type, body, rest), or None while it is not whole."""
    if not data:
        return None
    if data[0] not in LONGEST:
        raise ValueError(f"frame type {data[0]}")
    for size in range(1, 5):
        if len(data) <= size:
            return None
        if data[size] < 0x80:
            length, start = read_varint(data, 1)
            break
    else:
        raise ValueError("a length of more than 4 bytes")
    if length > LONGEST[data[0]]:
        raise ValueError(f"a frame of {length} bytes")
    if len(data) < start + length:
        return None
    return data[0], data[start : start + length], data[start + length :]


# --- the client -----------------------------------------------------------------------------------------------------------


class Closed(Exception):
    """The connection is over. `wait` seconds until the next try, or None: do not come back."""

    def __init__(self, text, wait):
        super().__init__(text)
        self.wait = wait


class Client:
    def __init__(self, options):
        self.options, self.left, self.counter, self.had = options, options.count, 0, {}

    def run(self):
        wait = 0.5
        while self.left != 0:
            began = time.monotonic()
            try:
                self.connection()
            except Closed as closed:
                print(closed, file=sys.stderr)
                if closed.wait is None:
                    return 1
                pause = closed.wait * random.uniform(1, 2) or wait * random.uniform(0.5, 1)
            except (OSError, ValueError, IndexError, struct.error) as error:
                print(f"connection lost: {error}", file=sys.stderr)
                pause = wait * random.uniform(0.5, 1)
            else:
                return 0
            wait = 0.5 if time.monotonic() - began > 10 else min(wait * 2, 60)
            time.sleep(pause)
        return 0

    def connection(self):
        self.counter = max(self.counter + 1, int(time.time() * 1000))
        with socket.create_connection((self.options.host, self.options.port), timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(hello(self.options, self.counter))
            self.sock, self.interval, self.welcomed = sock, 10 / 1.5, False
            data, heard, sent = b"", time.monotonic(), time.monotonic()
            while self.left != 0:
                now = time.monotonic()
                if now >= heard + self.interval * 1.5:
                    raise Closed("nothing was heard for too long", 0)
                if self.welcomed and now >= min(sent, heard) + self.interval and now >= sent + self.interval / 4:
                    sock.sendall(frame(PING))
                    sent = now
                sock.settimeout(min(1, max(0.01, heard + self.interval * 1.5 - now)))
                try:
                    more = sock.recv(65536)
                except TimeoutError:
                    continue
                finally:
                    sock.settimeout(15)
                if not more:
                    raise Closed("the room hung up", 0)
                data, heard = data + more, time.monotonic()
                acks = []
                while (found := take_frame(data)) and self.left != 0:
                    kind, body, data = found
                    self.on_frame(kind, body, acks)
                if acks:
                    ids = struct.pack(f"<{len(acks)}Q", *acks)
                    sock.sendall(frame(ACK, bytes_field(2, ids)))
                    sent = time.monotonic()
            self.goodbye()

    def on_frame(self, kind, body, acks):
        if not self.welcomed and kind not in (WELCOME, CLOSE):
            raise ValueError("the room does not begin with WELCOME")
        if kind == WELCOME:
            self.welcomed = True
            for tag, value in fields(body):
                if tag == 3:
                    self.interval = value
                elif tag == 6:
                    self.on_bound(value)
        elif kind == BOUND:
            self.on_bound(body)
        elif kind == PUSH:
            self.on_push(body[1:], acks)
        elif kind == DIRECTIVE:
            for tag, value in fields(body):
                if tag == 2:
                    self.interval = value
                elif tag == 1:
                    raise Closed("the room asks to reconnect", dict(fields(value)).get(2, 0) / 2000)
        elif kind == CLOSE:
            said = dict(fields(body))
            reason, detail = said.get(1, 0), said.get(2, b"").decode()
            wait = None if reason >= 2000 else said.get(3, 0) / 1000
            raise Closed(f"closed by the room: {reason} {detail}", wait)

    def on_bound(self, body):
        said = dict(fields(body))
        result = said.get(2, 0)
        if result == OK:
            print("bound", file=sys.stderr)
        else:
            wait = said.get(4, 0) / 1000 if result == UNAVAILABLE else None
            raise Closed(f"the bind does not stand: {result} {said.get(5, b'').decode()}", wait)

    def on_push(self, body, acks):
        said = dict(fields(body))
        message, transient = said.get(1, 0), said.get(3, 0) & TRANSIENT
        if not transient:
            acks.append(message)
            if message in self.had:
                return
            self.had[message] = True
            if len(self.had) > 4096:
                del self.had[next(iter(self.had))]
        print(message, said.get(2, b"").decode("utf-8", "replace"), flush=True)
        if self.left is not None:
            self.left -= 1

    def goodbye(self):
        self.sock.sendall(frame(CLOSE, number_field(1, CLIENT_GONE)))
        self.sock.shutdown(socket.SHUT_WR)
        self.sock.settimeout(1)
        deadline = time.monotonic() + 2
        try:
            while time.monotonic() < deadline and self.sock.recv(65536):
                pass
        except OSError:
            pass


def main():
    parser = argparse.ArgumentParser(description="A small Longline client: prints messages and acknowledges them.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("product", type=int)
    parser.add_argument("user")
    parser.add_argument("--token", default="")
    parser.add_argument("--count", type=int, help="end after this many messages")
    try:
        return Client(parser.parse_args()).run()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
