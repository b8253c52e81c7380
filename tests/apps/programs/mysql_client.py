"""PyMySQL and aiomysql: rows that are checked one by one.

mysql_client.py pymysql|aiomysql PORT
"""

import sys

from parts import blob, digest, finish

QUERY = "SELECT number, text FROM table_of_it WHERE comment = '" + "x" * 20_000 + "'"


def check(rows):
    for number, text in rows:
        if text != blob(5000, int(number)).hex():
            raise SystemExit(f"row {number} is wrong")
    return digest("".join(text for _, text in rows).encode())


def with_pymysql(port):
    import pymysql

    with pymysql.connect(host="127.0.0.1", port=port, user="me", read_timeout=30) as there:
        cursor = there.cursor()
        digests = []
        for _ in range(3):
            cursor.execute(QUERY)
            digests.append(check(cursor.fetchall()))
        there.ping()
        finish(digests=digests)


def with_aiomysql(port):
    import asyncio

    import aiomysql

    async def all_of_it():
        async with (
            aiomysql.create_pool(host="127.0.0.1", port=port, user="me", password="") as pool,
            pool.acquire() as there,
            there.cursor() as cursor,
        ):
            await cursor.execute(QUERY)
            first = check(await cursor.fetchall())
            await cursor.execute(QUERY)
            finish(digests=[first, check(await cursor.fetchall())])

    asyncio.run(all_of_it())


globals()[f"with_{sys.argv[1]}"](int(sys.argv[2]))
