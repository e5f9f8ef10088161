"""The real MVTec AD, through anomalib's own downloader and checksum.

Bergmann et al., "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection",
CVPR 2019.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from anomalib.data.datamodules.image.mvtecad import DOWNLOAD_INFO
from anomalib.data.datasets.image.mvtecad import CATEGORIES
from anomalib.data.utils import DownloadInfo, download_and_extract
from anomalib.data.utils.download import check_hash, extract

from runtime.errors import DataError
from runtime.images.dataset import list_categories

LICENCE = (
    "MVTec AD is CC BY-NC-SA 4.0: free for research and teaching, not for commercial use. "
    "See mvtec.com/company/research/datasets"
)


def fetch(
    out: Path,
    categories: Sequence[str] = (),
    *,
    archive: Path | None = None,
    info: DownloadInfo = DOWNLOAD_INFO,
) -> list[str]:
    """Put categories of MVTec AD under a folder; nothing half-written is left when it fails.

    Args:
        out: target folder; categories that it holds already are kept as they are.
        categories: names to keep, or none for all.
        archive: the archive, if it was downloaded by other means; it is left where it is.
        info: address and sha256 of the archive.

    Returns:
        the wanted categories that are there now, sorted.

    Raises:
        DataError: the download failed, the archive is damaged, a category is not in it, or
            something else lies in its place.
    """
    wanted = categories or CATEGORIES
    if set(wanted) <= set(list_categories(out)):
        return sorted(wanted)
    _require_free(out, wanted)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".get-data-", dir=out) as staging:
        _unpack(Path(staging), archive, info)
        return sorted(_keep(Path(staging), out, categories))


def _require_free(out: Path, names: Sequence[str]) -> None:
    """Say before the download what lies where a category is to go."""
    there = list_categories(out)
    for name in names:
        if (out / name).exists() and name not in there:
            raise DataError(
                f"{out / name}: expected nothing or a category with pictures in train/good, found "
                "something else; move it away"
            )


def _unpack(staging: Path, archive: Path | None, info: DownloadInfo) -> None:
    try:
        if archive is None:
            download_and_extract(staging, info)
            return
        check_hash(archive, info.hashsum)
        # A link, because anomalib removes the archive after unpacking.
        link = staging / info.url.rsplit("/", 1)[-1]
        link.symlink_to(archive.absolute())
        extract(link, staging)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(
            f"{archive or info.url}: expected the archive with sha256 {info.hashsum[:12]}…, found "
            "another or a damaged one "
            f"({error}); download it again"
        ) from error
    except OSError as error:
        source = str(archive) if archive is not None else info.url
        raise DataError(
            f"{source}: expected to read MVTec AD from there, found '{error}'; check the network "
            "and the space on the disk, or "
            "download it elsewhere and give it with --archive FILE; sample parts need no network: "
            "lineside sample-data"
        ) from error


def _keep(staging: Path, out: Path, categories: Sequence[str]) -> list[str]:
    found = list_categories(staging)
    missing = sorted(set(categories) - set(found))
    if missing:
        raise DataError(
            f"--category: expected one of {', '.join(found) or 'nothing'}, found "
            f"{', '.join(missing)}; check the spelling"
        )
    kept = list(categories) or found
    for name in kept:
        if not (out / name).exists():
            shutil.move(staging / name, out / name)
    return kept
