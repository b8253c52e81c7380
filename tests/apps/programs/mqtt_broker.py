"""As much of an MQTT 3.1.1 broker as it needs: subscriptions by exact topic, QoS 0 and 1."""

import asyncio
import struct
import sys

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14
subscribers = {}


async def packet(reader):
    head = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return head >> 4, head & 15, await reader.readexactly(size)


def packed(head, body):
    size, digits = len(body), bytearray()
    while True:
        size, digit = size >> 7, size & 127
        digits.append(digit | (128 if size else 0))
        if not size:
            return bytes([head]) + digits + body


def text(body):
    size = struct.unpack_from(">H", body)[0]
    return body[2 : 2 + size], body[2 + size :]


async def serve(reader, writer):
    mine = []
    try:
        while True:
            kind, flags, body = await packet(reader)
            if kind == CONNECT:
                writer.write(packed(0x20, b"\0\0"))
            elif kind == SUBSCRIBE:
                topic, _ = text(body[2:])
                subscribers.setdefault(topic, []).append(writer)
                mine.append(topic)
                writer.write(packed(0x90, body[:2] + b"\1"))
            elif kind == PUBLISH:
                topic, rest = text(body)
                if flags & 6:
                    writer.write(packed(0x40, rest[:2]))
                    rest = rest[2:]
                for other in subscribers.get(topic, ()):
                    other.write(packed(0x30, struct.pack(">H", len(topic)) + topic + rest))
                    await other.drain()
            elif kind == PINGREQ:
                writer.write(packed(0xD0, b""))
            elif kind == DISCONNECT:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    for topic in mine:
        subscribers[topic].remove(writer)
    writer.close()


async def main(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
