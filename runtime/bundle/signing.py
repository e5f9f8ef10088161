"""Who made a bundle: an Ed25519 signature over the hash of bundle.json, which hashes all files.

thresholds.json and health.json are edited on the box. The signature says what they were when it was
made; what was changed since then is told as local, and may be signed again with another key.

Source:
    RFC 8032, Edwards-Curve Digital Signature Algorithm, through ``cryptography``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import atomic
from runtime.bundle.folder import MANIFEST_FILE, SIGNATURE_FILE, Bundle
from runtime.bundle.thresholds import THRESHOLDS_FILE
from runtime.decode import read_json
from runtime.errors import BundleError, reading, require_extra
from runtime.health.baseline import HEALTH_FILE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

log = logging.getLogger("lineside")

_VERSION = 1
_CONTEXT = b"lineside bundle 1\n"
_LOCAL = (THRESHOLDS_FILE, HEALTH_FILE)
_BLOCK = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_MAKE_KEYS = "make a pair of keys with: lineside sign --new-key line.key"


@dataclass(frozen=True)
class Signature:
    """All of bundle.json.sig.

    Attributes:
        key: fingerprint of the public key.
        signed: sha256 in hex of each file that was signed, by name.
        signature: of the key over these, base64.
    """

    key: str
    signed: dict[str, str]
    signature: str


def make_keys(path: Path) -> Path:
    """Write a private key that its owner alone can read, and its public key beside it.

    Args:
        path: of the private key, which must not exist.

    Returns:
        Path of the public key, the same with ``.pub``.

    Raises:
        BundleError: one of the files is there, or cannot be written.
        MissingExtraError: cryptography is not installed.
    """
    require_extra("sign", "cryptography")
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(f"{path.name}.pub")
    if there := [one for one in (path, public) if one.exists()]:
        raise BundleError(f"{there[0]}: expected no file yet, found one; name another")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    shown = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    with reading(path, "a file to write", BundleError, "check the folder"):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        atomic.write_bytes(public, shown)
    return public


def sign_bundle(bundle: Path, key_file: Path) -> Signature:
    """Sign a bundle folder as it is now; an older signature is replaced.

    Args:
        bundle: folder; every file is verified first.
        key_file: a private key of Ed25519, PEM.

    Raises:
        BundleError: no bundle folder, or no such key.
        MissingExtraError: cryptography is not installed.
    """
    require_extra("sign", "cryptography")
    if bundle.is_file():
        raise BundleError(
            f"{bundle}: expected a bundle folder, found a packed one; sign the folder, then type: "
            "lineside pack BUNDLE OUT"
        )
    key = _private_key(key_file)
    with Bundle.open(bundle) as opened:
        # Damage is not signed.
        opened.thresholds()
        opened.health()
        signed = _hashes(opened.root)
    made = base64.b64encode(key.sign(_statement(signed))).decode()
    signature = Signature(_fingerprint(key.public_key()), signed, made)
    atomic.write_json(bundle / SIGNATURE_FILE, {"schema_version": _VERSION, **asdict(signature)})
    return signature


def check_signature(bundle: Bundle, keys_file: Path) -> tuple[str, ...]:
    """Refuse a bundle that none of the keys has signed.

    Args:
        bundle: open, so that bundle.json goes with all other files.
        keys_file: one or several public keys of Ed25519, PEM, one after another.

    Returns:
        Names of the files that were changed on this box since; each is logged.

    Raises:
        BundleError: no signature, one of another key or of another bundle.json, or no such keys.
        MissingExtraError: cryptography is not installed.
    """
    require_extra("sign", "cryptography")
    from cryptography.exceptions import InvalidSignature

    keys = _public_keys(keys_file)
    path = bundle.root / SIGNATURE_FILE
    where = bundle.source
    if not path.exists():
        raise BundleError(
            f"{where}: expected a signature, found none; sign it where it was made: lineside sign "
            "BUNDLE --key FILE"
        )
    found = read_json(
        path,
        Signature,
        error=BundleError,
        advice="sign the bundle again",
        version=_VERSION,
        known_only=True,
        complete=True,
    )
    key = keys.get(found.key)
    if key is None:
        raise BundleError(
            f"{where}: expected a signature of one of the keys {', '.join(sorted(keys))}, found "
            f"one of {found.key[:64]!r}; add that key to {keys_file} only if you trust it"
        )
    now = _hashes(bundle.root)
    try:
        key.verify(base64.b64decode(found.signature, validate=True), _statement(found.signed))
    except (InvalidSignature, ValueError):
        raise BundleError(
            f"{where}: expected a signature that key {found.key} has made, found another; do not "
            "use this bundle"
        ) from None
    if found.signed.get(MANIFEST_FILE) != now[MANIFEST_FILE]:
        raise BundleError(
            f"{where}: expected the bundle.json that was signed, found another; if the change was "
            "meant, sign it again: lineside sign BUNDLE --key FILE"
        )
    local = tuple(name for name in _LOCAL if found.signed.get(name) != now.get(name))
    for name in local:
        log.warning(
            f"warning: {bundle.root / name}: changed on this box since the bundle was signed; if "
            "that was meant, sign it again"
        )
    return local


def _hashes(root: Path) -> dict[str, str]:
    there = (name for name in (MANIFEST_FILE, *_LOCAL) if (root / name).is_file())
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in there}


def _statement(signed: dict[str, str]) -> bytes:
    return _CONTEXT + json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with reading(path, "a private key of Ed25519 (PEM)", BundleError, _MAKE_KEYS):
        key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path}: expected a key of Ed25519, found another kind; {_MAKE_KEYS}")
    return key


def _public_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    with reading(path, "public keys of Ed25519 (PEM)", BundleError, _MAKE_KEYS):
        keys = [load_pem_public_key(block) for block in _BLOCK.findall(path.read_bytes())]
    known = [one for one in keys if isinstance(one, Ed25519PublicKey)]
    if not known or len(known) < len(keys):
        found = "none" if not keys else "another kind"
        raise BundleError(f"{path}: expected public keys of Ed25519, found {found}; {_MAKE_KEYS}")
    return {_fingerprint(one): one for one in known}
