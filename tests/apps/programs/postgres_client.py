"""Clients of PostgreSQL: pg8000 in Python, psycopg2 over libpq, asyncpg over asyncio.

postgres_client.py pg8000|psycopg2|asyncpg PORT
"""

import sys

from parts import MB, blob, finish, same

PLACE = {"user": "me", "host": "127.0.0.1", "port": int(sys.argv[2]), "database": "postgres"}


def check(there, in_bytes):
    """Through the interface that the first two have in common."""
    cursor = there.cursor()
    cursor.execute("create temporary table things (number integer, body bytea)")
    for number in range(20):
        cursor.execute("insert into things values (%s, %s)", (number, in_bytes(blob(100, number))))
    cursor.execute("insert into things values (%s, %s)", (99, in_bytes(blob(MB))))
    cursor.execute("select body from things order by number")
    bodies = [bytes(body) for (body,) in cursor.fetchall()]
    for number, body in enumerate(bodies[:-1]):
        same(body, blob(100, number))
    same(bodies[-1], blob(MB))
    finish(count=len(bodies))


def with_pg8000():
    import ssl

    import pg8000.dbapi

    try:  # the server has no certificate, and says so in plain text
        pg8000.dbapi.connect(**PLACE, ssl_context=ssl.create_default_context())
    except pg8000.dbapi.InterfaceError as error:
        if "SSL" not in str(error):
            raise
    there = pg8000.dbapi.connect(**PLACE, timeout=30)
    check(there, bytes)
    there.close()


def with_psycopg2():
    import psycopg2

    there = psycopg2.connect(**PLACE)
    check(there, psycopg2.Binary)
    there.close()


def with_asyncpg():
    import asyncio

    import asyncpg

    async def all_of_it():
        there = await asyncpg.connect(**PLACE)
        same(await there.fetchval("select $1::bytea", blob(MB)), blob(MB))
        finish(numbers=len(await there.fetch("select generate_series(1, 1000)")))
        await there.close()

    asyncio.run(all_of_it())


globals()[f"with_{sys.argv[1]}"]()
