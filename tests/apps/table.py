"""What is run, with what, and what is to come of it: one entry for each app.

Commands are those of a user: a program of `programs/`, `-m module`, or another program's name. PORT
stands for the port that the server gets. All run in the folder `programs`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class App:
    """One app.

    Attributes:
        name: The test's name.
        server: Its command; None where the client starts its own.
        client: Its command. It checks what it gets, says so, and stays until told to go.
        needs: Modules without which the app cannot run.
        tools: Programs likewise, as patterns of paths or names.
        path: Where its bytes have to go: "shm", or "tcp" if its library has its own network code.
        reasons: What `wsdirect ss` has to say of the connections, if not that they are switched.
        plain_server: The server is no Python program, and is not started with the launcher.
    """

    name: str
    server: str | None
    client: str
    needs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    path: str = "shm"
    reasons: tuple[str, ...] = ()
    plain_server: bool = False


POSTGRES = ("/usr/lib/postgresql/*/bin/postgres",)
UNHOOKED = ("unhooked-accept", "unhooked-connect")

# fmt: off
APPS = (
    # Web servers, each with another client library.
    App("http.client", "http_server.py PORT", "web_client.py http_client PORT"),
    App("urllib", "http_server.py PORT", "web_client.py urllib PORT"),
    App("wsgiref-urllib3", "wsgi_echo.py wsgiref PORT", "web_client.py urllib3 PORT", ("urllib3",)),
    App("requests", "http_server.py PORT", "web_client.py requests PORT", ("requests",)),
    App("httpx", "http_server.py PORT", "web_client.py httpx PORT", ("httpx",)),
    App("flask", "flask_server.py PORT", "web_client.py requests PORT", ("flask", "requests")),
    App("fastapi-uvicorn",
        "-m uvicorn --host 127.0.0.1 --port PORT --loop asyncio --http h11 fastapi_server:app",
        "web_client.py httpx_async PORT", ("fastapi", "uvicorn", "h11", "httpx")),
    App("uvicorn-workers",
        "-m uvicorn --host 127.0.0.1 --port PORT --loop asyncio --workers 2 fastapi_server:app",
        "web_client.py httpx PORT", ("fastapi", "uvicorn", "httpx")),
    App("aiohttp", "aiohttp_server.py PORT", "web_client.py aiohttp PORT", ("aiohttp",)),
    App("tornado", "tornado_server.py PORT", "web_client.py tornado PORT", ("tornado",)),
    App("twisted.web", "wsgi_echo.py twisted PORT", "web_client.py twisted PORT", ("twisted",)),
    App("bottle", "bottle_server.py PORT", "web_client.py urllib PORT", ("bottle",)),
    App("django", "django_server.py PORT", "web_client.py http_client PORT", ("django",)),
    App("cherrypy", "cherrypy_server.py PORT", "web_client.py requests PORT",
        ("cherrypy", "requests")),
    App("waitress", "wsgi_echo.py waitress PORT", "web_client.py urllib3 PORT",
        ("waitress", "urllib3")),
    App("gunicorn-sync", "-m gunicorn -b 127.0.0.1:PORT -w 2 wsgi_echo:app",
        "web_client.py requests PORT", ("gunicorn", "requests")),
    App("gunicorn-gthread",
        "-m gunicorn -b 127.0.0.1:PORT -w 2 -k gthread --threads 4 wsgi_echo:app",
        "web_client.py urllib3 PORT", ("gunicorn", "urllib3")),
    App("hypercorn", "-m hypercorn -b 127.0.0.1:PORT fastapi_server:app",
        "web_client.py httpx_async PORT", ("hypercorn", "fastapi", "httpx")),

    # The standard library's other protocols.
    App("ftplib", "ftp_server.py PORT", "ftp_client.py passive PORT", ("pyftpdlib",)),
    App("ftplib-active", "ftp_server.py PORT", "ftp_client.py active PORT", ("pyftpdlib",)),
    App("smtplib", "smtp_server.py PORT", "smtp_client.py PORT", ("aiosmtpd",)),
    App("smtpd", "smtpd_server.py PORT", "smtp_client.py PORT", ("smtpd",)),
    App("poplib", "mailbox_server.py pop PORT", "mailbox_client.py pop PORT"),
    App("imaplib", "mailbox_server.py imap PORT", "mailbox_client.py imap PORT"),
    App("xmlrpc", "xmlrpc_server.py PORT", "xmlrpc_client.py PORT"),
    App("socketserver-threading", "socketserver_echo.py threading PORT", "socket_client.py PORT"),
    App("socketserver-forking", "socketserver_echo.py forking PORT", "socket_client.py PORT"),
    App("managers", "managers.py serve PORT", "managers.py use PORT"),
    App("multiprocessing-children", None, "managers.py children PORT"),
    App("logging-socket", "logging_server.py socket PORT", "logging_client.py socket PORT"),
    App("logging-http", "logging_server.py http PORT", "logging_client.py http PORT"),
    App("logging-config", None, "logging_client.py config PORT"),

    # Messages, calls, databases.
    App("websockets-asyncio", "websockets_server.py PORT", "websockets_client.py asyncio PORT",
        ("websockets",)),
    App("websockets-sync", "websockets_server.py PORT", "websockets_client.py sync PORT",
        ("websockets",)),
    App("redis-fake", "redis_server.py PORT", "redis_client.py PORT", ("redis", "fakeredis")),
    App("pymysql", "mysql_server.py PORT", "mysql_client.py pymysql PORT",
        ("pymysql", "mysql_mimic")),
    App("aiomysql", "mysql_server.py PORT", "mysql_client.py aiomysql PORT",
        ("aiomysql", "mysql_mimic")),
    App("paho-mqtt", "mqtt_broker.py PORT", "mqtt_client.py PORT", ("paho.mqtt",)),
    App("pyro5", "pyro_server.py PORT", "pyro_client.py PORT", ("Pyro5",)),
    App("rpyc", "rpyc_server.py PORT", "rpyc_client.py PORT", ("rpyc",)),
    App("paramiko", "ssh_server.py PORT", "ssh_client.py paramiko PORT", ("paramiko",)),
    App("asyncssh", "ssh_server.py PORT", "ssh_client.py asyncssh PORT", ("paramiko", "asyncssh")),
    App("twisted", "twisted_echo.py serve PORT", "twisted_echo.py ask PORT", ("twisted",)),
    App("trio", "trio_echo.py serve PORT", "trio_echo.py ask PORT", ("trio",)),
    App("socks", "socks_proxy.py PORT", "socks_client.py PORT", ("socks", "requests")),
    App("dask", None, "dask_cluster.py PORT", ("distributed",)),

    # A switched socket that the program gives to uvloop goes on through the kernel, but not by TCP.
    App("uvloop-socket", "asyncio_echo.py PORT", "uvloop_echo.py ask-by-socket PORT", ("uvloop",),
        reasons=("passed-on",)),

    # What stays on TCP: the peer is no Python program, or the library has its own network code.
    App("redis-real", "redis-server --port PORT --bind 127.0.0.1 --save '' --loglevel warning",
        "redis_client.py PORT all", ("redis",), ("redis-server",),
        "tcp", ("no-listener",), plain_server=True),
    App("pg8000", "postgres_server.py PORT", "postgres_client.py pg8000 PORT",
        ("pg8000",), POSTGRES, "tcp", ("no-listener",), plain_server=True),
    App("asyncpg", "postgres_server.py PORT", "postgres_client.py asyncpg PORT",
        ("asyncpg",), POSTGRES, "tcp", ("no-listener",), plain_server=True),
    App("psycopg2", "postgres_server.py PORT", "postgres_client.py psycopg2 PORT",
        ("psycopg2",), POSTGRES, "tcp", ("unhooked-connect",), plain_server=True),
    App("uvloop", "uvloop_echo.py serve PORT", "uvloop_echo.py ask PORT", ("uvloop",),
        path="tcp", reasons=UNHOOKED),
    App("gevent", "wsgi_echo.py gevent PORT", "web_client.py gevent PORT", ("gevent", "requests"),
        path="tcp", reasons=("gevent-present",)),
    App("grpc", "grpc_server.py PORT", "grpc_client.py PORT", ("grpc",),
        path="tcp", reasons=UNHOOKED),
    App("zmq", "zmq_pair.py serve PORT", "zmq_pair.py ask PORT", ("zmq",),
        path="tcp", reasons=UNHOOKED),
)
# fmt: on
