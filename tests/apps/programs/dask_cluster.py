"""dask.distributed: a scheduler, a worker in another process, and data between them."""

import sys

from distributed import Client, LocalCluster
from parts import MB, blob, digest, finish

if __name__ == "__main__":
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None,
            scheduler_port=int(sys.argv[1]), host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        there = client.scatter(blob(2 * MB), direct=False)
        if client.submit(digest, there).result(30) != digest(blob(2 * MB)):
            raise SystemExit("the worker has got something else")
        finish(sum=client.submit(sum, range(1000)).result(30))
