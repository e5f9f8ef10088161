"""Neighbor search at scale: our store, qdrant-client's local mode and FAISS, against exact search.

    lineside store-export ./neighbours parts
    python benchmarks/neighbors.py --like parts/parts.jsonl --points 20000,200000,1000000
    [--queries 200] [--json results.json]

With ``--like`` points are drawn around the real descriptors of an exported store: a real one, moved
at random within the space of its eight nearest, plus noise half as long as the way to the nearest.
Without it they are unit vectors scattered around as many centres as a line has kinds of defect.
Evenly scattered ones would be harder to index and tell nothing. Every search asks for the top 5
within one of four categories, with payload. FAISS has no filters: it searches everything. With
``--keep DIR`` the Qdrant Edge store stays, and the next run goes on from what is there: a million
parts take a while.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Run from a checkout: the packages lie beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_app.store import NeighborStore, PartPoint, SearchFilter
from edge_app.store.edge_index import FEW

Vectors = npt.NDArray[np.float32]
CATEGORIES = ("tile", "leather", "grid", "bottle")
CENTERS = 200
NEAR = 8
BATCH = 500
CLIENT_LIMIT = 20_000
K = 5


def descriptors(number: int, length: int, seed: int) -> Vectors:
    """float32 (number, length) unit vectors around ``CENTERS`` centres."""
    centers = np.random.default_rng(0).normal(size=(CENTERS, length))
    random = np.random.default_rng(seed)
    near = centers[random.integers(0, CENTERS, number)] + 0.7 * random.normal(size=(number, length))
    return np.asarray(near / np.linalg.norm(near, axis=1, keepdims=True), dtype=np.float32)


def around(real: Vectors, number: int, seed: int) -> Vectors:
    """float32 (number, length) unit vectors that lie as real descriptors (n, length) do."""
    random = np.random.default_rng(seed)
    similarity = real @ real.T
    np.fill_diagonal(similarity, -np.inf)
    near = np.argsort(-similarity, axis=1)[:, :NEAR]
    gaps = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(similarity, near[:, :1], axis=1), 0))
    drawn = np.empty((number, real.shape[1]), dtype=np.float32)
    for start in range(0, number, 50_000):
        chosen = random.integers(0, len(real), min(50_000, number - start))
        shares = random.normal(0, 0.35, (len(chosen), NEAR, 1)).astype(np.float32)
        moved = real[chosen] + (shares * (real[near[chosen]] - real[chosen][:, None])).sum(axis=1)
        noise = random.normal(size=moved.shape).astype(np.float32)
        moved += 0.5 * gaps[chosen] * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        drawn[start : start + len(chosen)] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return drawn


def real_descriptors(file: Path) -> Vectors:
    """Descriptors of an exported store, those that are exactly alike once."""
    rows = [
        json.loads(line)["embedding"]
        for line in file.read_text(encoding="utf-8").splitlines()
        if line
    ]
    return np.unique(np.asarray(rows, dtype=np.float32), axis=0)


def batches(vectors: Vectors, first: int = 0) -> Iterator[list[PartPoint]]:
    """Points in the order of the vectors from the first one on, with payloads as large as real."""
    random = np.random.default_rng(3)
    for start in range(first, len(vectors), BATCH):
        yield [
            PartPoint(
                point_id=str(uuid.UUID(int=index)),
                embedding=vectors[index],
                bundle="bench",
                category=CATEGORIES[index % len(CATEGORIES)],
                path=f"/parts/{index}.png",
                verdict="anomalous",
                raw_score=1.0,
                normalized_score=0.5,
                time="2025-01-01T00:00:00+00:00",
                # A JPEG of 160 px takes about this much and cannot be compressed further.
                thumbnail=base64.b64encode(random.bytes(3000)).decode("ascii"),
            )
            for index in range(start, min(start + BATCH, len(vectors)))
        ]


def exact(vectors: Vectors, queries: Vectors, category: int | None) -> list[set[int]]:
    """Indices of the true top 5 of every query."""
    rows = (
        np.arange(len(vectors))
        if category is None
        else np.arange(category, len(vectors), len(CATEGORIES))
    )
    chosen = vectors[rows]
    answers = []
    for query in queries:
        similarities = chosen @ query
        answers.append(set(rows[np.argpartition(-similarities, K)[:K]].tolist()))
    return answers


def timed(
    search: Callable[[Vectors], set[int]], queries: Vectors, truth: list[set[int]]
) -> dict[str, float]:
    """Recall at 5, and times in ms: the first searches read from the disk what none has touched."""
    first, hits = [], 0
    for query, wanted in zip(queries, truth, strict=True):
        start = time.perf_counter()
        found = search(query)
        first.append((time.perf_counter() - start) * 1000)
        hits += len(found & wanted)
    times = []
    for query in queries:
        start = time.perf_counter()
        search(query)
        times.append((time.perf_counter() - start) * 1000)
    return {
        "first_p50_ms": round(float(np.median(first)), 3),
        "p50_ms": round(float(np.median(times)), 3),
        "p95_ms": round(float(np.percentile(times, 95)), 3),
        "recall_at_5": round(hits / (K * len(queries)), 4),
    }


def in_store(
    store: NeighborStore, vectors: Vectors, queries: Vectors
) -> tuple[dict[str, Any], Callable[[], Any]]:
    """Fill a store; returns the rate and a function that measures searching."""
    there = store.count()
    start = time.perf_counter()
    for batch in batches(vectors, there):
        store.upsert(batch)
    rate = round((len(vectors) - there) / (time.perf_counter() - start))
    truth = exact(vectors, queries, 0)
    where = SearchFilter(category=CATEGORIES[0])

    def search(query: Vectors) -> set[int]:
        return {uuid.UUID(hit.point.point_id).int for hit in store.search(query, K, where)}

    return {"upserts_per_second": rate}, lambda: timed(search, queries, truth)


def edge(vectors: Vectors, queries: Vectors, keep: Path | None = None) -> list[dict[str, Any]]:
    """Our store in a folder: exact over the records, and by its index, which is then built anew."""
    from edge_app.store.edge import EdgeStore

    if keep is not None:
        folder = keep / str(len(vectors))
    else:
        folder = Path(
            tempfile.mkdtemp(prefix="lineside-bench-", dir=os.environ.get("LINESIDE_BENCH_DIR"))
        )
    before = rss_mib()
    try:
        with EdgeStore(folder, bundle="bench", embedding_length=vectors.shape[1]) as store:
            row, measure = in_store(store, vectors, queries)
            single = single_upserts(store, vectors)
            plain = {"store": "records alone", **row, **single}
            if len(vectors) > FEW:
                plain |= measure()
            plain |= sizes(folder, before)
            start = time.perf_counter()
            store.optimize()
            seconds = round(time.perf_counter() - start, 1)
            built = {"store": "Qdrant Edge", "index_s": seconds, **measure()}
            built |= sizes(folder, before)
        start = time.perf_counter()
        with EdgeStore(folder, bundle="bench", embedding_length=vectors.shape[1]) as store:
            store.search(queries[0], K)
            built["open_s"] = round(time.perf_counter() - start, 2)
        return [plain, built]
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def single_upserts(store: NeighborStore, vectors: Vectors, number: int = 100) -> dict[str, float]:
    """Median time to store one part, as the line does it; the points are there already."""
    times = []
    points = [point for batch in batches(vectors[:number]) for point in batch]
    for point in points:
        start = time.perf_counter()
        store.upsert([point])
        times.append((time.perf_counter() - start) * 1000)
    return {"single_upsert_p50_ms": round(float(np.median(times)), 2)}


def client_local(vectors: Vectors, queries: Vectors) -> list[dict[str, Any]]:
    """qdrant-client's local mode in a folder: pure Python."""
    from qdrant_client import QdrantClient

    from edge_app.store.remote import RemoteStore

    if len(vectors) > CLIENT_LIMIT:
        return [{"store": "qdrant-client local", "note": f"not run above {CLIENT_LIMIT} points"}]
    folder = Path(
        tempfile.mkdtemp(prefix="lineside-bench-", dir=os.environ.get("LINESIDE_BENCH_DIR"))
    )
    before = rss_mib()
    warnings.filterwarnings("ignore")
    try:
        client = QdrantClient(path=str(folder / "c"))
        with RemoteStore(client, bundle="bench", embedding_length=vectors.shape[1]) as store:
            row, measure = in_store(store, vectors, queries)
            return [{"store": "qdrant-client local", **row, **measure(), **sizes(folder, before)}]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def faiss_flat(vectors: Vectors, queries: Vectors) -> list[dict[str, Any]]:
    """FAISS's exact index: vectors in memory only, without payload, filters or durability."""
    try:
        import faiss
    except ImportError:
        return [{"store": "FAISS flat", "note": "not installed: pip install faiss-cpu"}]
    before = rss_mib()
    index = faiss.IndexFlatIP(vectors.shape[1])
    start = time.perf_counter()
    index.add(vectors)
    rate = round(len(vectors) / (time.perf_counter() - start))
    row = timed(
        lambda query: set(index.search(query[None], K)[1][0].tolist()),
        queries,
        exact(vectors, queries, None),
    )
    return [
        {"store": "FAISS flat, no filter", "upserts_per_second": rate, **row, **sizes(None, before)}
    ]


CANDIDATES: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "edge": edge,
    "client": client_local,
    "faiss": faiss_flat,
}


def rss_mib() -> float:
    """Resident memory of this process in MiB."""
    pages = (
        int(Path("/proc/self/statm").read_text().split()[1])
        if Path("/proc/self/statm").exists()
        else 0
    )
    return pages * resource.getpagesize() / 2**20


def sizes(folder: Path | None, before_mib: float) -> dict[str, int]:
    """Memory gained and disk used, in MiB; memory counts mapped files that the system may drop."""
    row = {"rss_mib": round(rss_mib() - before_mib)}
    if folder is not None:
        blocks = sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file())
        row["disk_mib"] = round(blocks * 512 / 2**20)
    return row


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--points", default="20000,200000", help="numbers of points, separated by commas"
    )
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--like",
        type=Path,
        help="parts.jsonl of a store-export: draw points around its descriptors",
    )
    parser.add_argument(
        "--length", type=int, default=153, help="length of a descriptor without --like"
    )
    parser.add_argument(
        "--keep", type=Path, help="leave Qdrant Edge's stores here and go on with what is there"
    )
    parser.add_argument("--only", choices=sorted(CANDIDATES), help="one candidate, in this process")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    return parser.parse_args()


def separately(name: str, number: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one candidate in a process of its own, so that memory is its own too."""
    command = [
        sys.executable,
        __file__,
        "--only",
        name,
        "--points",
        str(number),
        "--queries",
        str(options.queries),
        "--length",
        str(options.length),
    ]
    command += ["--like", str(options.like)] if options.like else []
    command += ["--keep", str(options.keep)] if options.keep else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    options = arguments()
    numbers = [int(text) for text in options.points.split(",")]
    if options.only:
        # Memory is that of the process, so each number has one of its own.
        if len(numbers) > 1:
            raise SystemExit(f"--only: expected one number of --points, found {options.points}")
        if options.like:
            real = real_descriptors(options.like)
            vectors, queries = around(real, numbers[0], 1), around(real, options.queries, 2)
        else:
            vectors = descriptors(numbers[0], options.length, 1)
            queries = descriptors(options.queries, options.length, 2)
        more = {"keep": options.keep} if options.only == "edge" else {}
        for row in CANDIDATES[options.only](vectors, queries, **more):
            sys.stdout.write(json.dumps({"points": numbers[0], **row}) + "\n")
        return
    rows = []
    for number in numbers:
        for name in CANDIDATES:
            for row in separately(name, number, options):
                rows.append(row)
                sys.stdout.write(json.dumps(row) + "\n")
                sys.stdout.flush()
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
