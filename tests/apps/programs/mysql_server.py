"""A MySQL server in Python (mysql-mimic): a query's own text is what it answers with."""

import asyncio
import sys

from mysql_mimic import MysqlServer, Session
from parts import blob


class Text(Session):
    async def query(self, expression, sql, attrs):
        return [(number, blob(5000, number).hex()) for number in range(100)], ["number", "text"]


asyncio.run(MysqlServer(port=int(sys.argv[1]), session_factory=Text).serve_forever())
