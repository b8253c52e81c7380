"""paramiko and asyncssh: a command with a large standard input and output.

ssh_client.py paramiko|asyncssh PORT
"""

import sys

from parts import MB, blob, finish, same

port = int(sys.argv[2])


def with_paramiko():
    import paramiko

    with paramiko.SSHClient() as there:
        there.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        there.connect("127.0.0.1", port, "me", "secret", allow_agent=False, look_for_keys=False)
        stdin, stdout, _ = there.exec_command(f"echo {MB}", timeout=30)
        for at in range(0, MB, 1 << 16):
            stdin.write(blob(MB)[at : at + (1 << 16)])
            stdin.flush()
            same(stdout.read(1 << 16), blob(MB)[at : at + (1 << 16)])
        finish(status=stdout.channel.recv_exit_status())


def with_asyncssh():
    import asyncio

    import asyncssh

    async def all_of_it():
        async with asyncssh.connect(
            "127.0.0.1", port, username="me", password="secret", known_hosts=None, client_keys=None,
            config=None,
        ) as there:  # fmt: skip
            done = await there.run(f"echo {MB}", input=blob(MB), encoding=None)
            same(done.stdout, blob(MB))
            finish(status=done.exit_status)

    asyncio.run(all_of_it())


globals()[f"with_{sys.argv[1]}"]()
