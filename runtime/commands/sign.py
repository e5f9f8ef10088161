"""``lineside sign``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option(
    "--key", "key_file", type=click.Path(path_type=Path), metavar="FILE", help="Private key, PEM."
)
@click.option(
    "--new-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make a pair of keys: FILE, which stays secret, and FILE.pub for the boxes.",
)
def command(bundle: Path | None, key_file: Path | None, new_key: Path | None) -> None:
    """Sign a bundle, so that a box can tell who made it.

    The signature covers bundle.json and with it every file; of thresholds.json and health.json it
    says what they were. A box asks for it with --require-signature FILE, in which several public
    keys may stand one after another: the old one and the new one while keys change.

    \b
    Example:
      lineside sign --new-key line.key
      lineside sign tile-patchcore --key line.key
      lineside inspect tile-patchcore part.png --require-signature line.key.pub
    """
    from runtime.bundle.signing import make_keys, sign_bundle
    from runtime.console import say

    if new_key is not None and bundle is None and key_file is None:
        public = make_keys(new_key)
        click.echo(f"{new_key}\n{public}")
        say(f"keep {new_key} secret; bring {public} to the boxes: --require-signature {public}")
        return
    if bundle is None or key_file is None or new_key is not None:
        raise click.UsageError(
            "expected BUNDLE and --key FILE, or --new-key FILE alone; type for example: lineside "
            "sign tile-patchcore --key line.key"
        )
    signature = sign_bundle(bundle, key_file)
    click.echo(f"{bundle}: signed with key {signature.key}")
