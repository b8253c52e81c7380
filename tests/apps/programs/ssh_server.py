"""An SSH server with paramiko: `echo N` gives what comes on its standard input, N bytes of it."""

import socket
import sys
import threading

import paramiko


class Server(paramiko.ServerInterface):
    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, number):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        size = int(command.split()[1])
        threading.Thread(target=self.echo, args=(channel, size), daemon=True).start()
        return True

    def echo(self, channel, size):
        while size > 0:
            data = channel.recv(32768)
            channel.sendall(data)
            size -= len(data)
        channel.send_exit_status(7)
        channel.close()


key = paramiko.ECDSAKey.generate()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
kept = []
while True:
    transport = paramiko.Transport(listener.accept()[0])
    transport.add_server_key(key)
    transport.start_server(server=Server())
    kept.append(transport)
