"""A PostgreSQL server over an empty cluster in a temporary folder.

PostgreSQL refuses to run as root, so it runs as "nobody" if that is who starts it.
"""

import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile

tools = max(glob.glob("/usr/lib/postgresql/*/bin"))
user = "nobody" if os.getuid() == 0 else None
folder = tempfile.mkdtemp(prefix="pg")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    if user is not None:
        shutil.chown(folder, user)
    data = os.path.join(folder, "data")
    subprocess.run(
        [f"{tools}/initdb", "-U", "me", "-A", "trust", "--no-sync", "-D", data],
        user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    server = subprocess.Popen(
        [f"{tools}/postgres", "-D", data, "-p", sys.argv[1], "-k", folder,
         "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "log_min_messages=fatal"],
        user=user, cwd=folder,
    )  # fmt: skip
    try:
        server.wait()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(10)
finally:
    shutil.rmtree(folder, ignore_errors=True)
