"""redis-py: large values, pipelines, threads, blocking and waiting for messages.

redis_client.py PORT [all]     all: what only a real server can do, too
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import redis
from parts import MB, blob, finish, same

there = redis.Redis("127.0.0.1", int(sys.argv[1]), socket_timeout=30)
there.set("large", blob(MB))
same(there.get("large"), blob(MB))
with there.pipeline(transaction=False) as many:
    for number in range(500):
        many.set(f"key {number}", number)
        many.incr("count")
    last = many.execute()[-1]
with ThreadPoolExecutor(4) as threads:
    counts = sorted(threads.map(lambda _: there.incr("more"), range(100)))
late = heard = None
if "all" in sys.argv:
    late = there.blpop("nothing", timeout=1)
    news = there.pubsub()
    news.subscribe("news")
    news.get_message(timeout=10)
    there.publish("news", "it rains")
    heard = news.get_message(timeout=10)["data"].decode()
finish(last=last, counts=counts, late=late, heard=heard, nine=int(there.get("key 9")))
