"""``lineside pack``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def command(bundle: Path, out: Path) -> None:
    """Pack a bundle into one file, to carry it to a box; every command takes it like the folder.

    The bundle is verified first. Thresholds cannot be edited inside the file: unpack it on the box
    with any zip program.

    \b
    Example:
      lineside pack tile-patchcore tile-patchcore.lineside
    """
    from runtime.bundle.folder import ARCHIVE_SUFFIX, pack_archive
    from runtime.errors import BundleError

    if out.suffix != ARCHIVE_SUFFIX:
        raise BundleError(
            f"{out}: expected a name that ends in {ARCHIVE_SUFFIX}, found "
            f"{out.suffix or 'no suffix'}; rename it"
        )
    pack_archive(bundle, out)
    click.echo(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
