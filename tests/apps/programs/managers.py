"""multiprocessing over TCP: a manager in another program, and children that are called back.

managers.py serve PORT      the manager
managers.py use PORT        its user
managers.py children PORT   a listener and its children, forked and spawned
"""

import multiprocessing
import sys
from multiprocessing.connection import Client, Listener, wait
from multiprocessing.managers import BaseManager

from parts import MB, blob, digest, finish, same


class Manager(BaseManager):
    pass


shelf = {}
Manager.register("shelf", callable=lambda: shelf, exposed=["get", "update", "__len__"])
Manager.register("list", list)


def serve(address):
    Manager(address, b"key").get_server().serve_forever()


def use(address):
    manager = Manager(address, b"key")
    manager.connect()
    there = manager.shelf()
    there.update({"large": blob(MB)})
    same(there.get("large"), blob(MB))
    for number in range(50):
        there.update({number: number * number})
    numbers = manager.list(range(10))
    numbers.reverse()
    finish(length=len(there), seven=there.get(7), numbers=numbers._getvalue())


def child(address, number):
    with Client(address, authkey=b"key") as connection:
        connection.send((number, blob(MB, number)))
        if connection.recv() != digest(blob(MB, number)):
            raise SystemExit("the listener has got something else")


def children(address):
    done = []
    for method in ("fork", "spawn"):
        start = multiprocessing.get_context(method).Process
        with Listener(address, authkey=b"key", backlog=4) as listener:
            started = []
            connections = []
            for number in range(2):
                started.append(start(target=child, args=(address, number)))
                started[-1].start()
                connections.append(listener.accept())
            while connections:
                for connection in wait(connections, 30):
                    number, body = connection.recv()
                    same(body, blob(MB, number))
                    connection.send(digest(body))
                    connections.remove(connection)
            for process in started:
                process.join(30)
                done.append((method, process.exitcode))
    finish(done=done)


if __name__ == "__main__":
    globals()[sys.argv[1]](("127.0.0.1", int(sys.argv[2])))
