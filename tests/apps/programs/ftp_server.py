"""An FTP server with pyftpdlib, over the files of the folder that it makes."""

import logging
import os
import sys
import tempfile

from parts import MB, blob
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

logging.getLogger("pyftpdlib").setLevel(logging.WARNING)
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "file"), "wb") as file:
        file.write(blob(2 * MB))
    FTPHandler.authorizer = DummyAuthorizer()
    FTPHandler.authorizer.add_user("user", "secret", folder, perm="elradfmw")
    FTPServer(("127.0.0.1", int(sys.argv[1])), FTPHandler).serve_forever()
