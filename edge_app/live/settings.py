"""Every key that the configuration of a station may have: what it means, and what may be typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from edge_app.live.toml_tables import explained

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
VerdictName = Literal["good", "anomalous", "cannot_judge"]


@dataclass(frozen=True)
class Top:
    """The keys before any table."""

    bundles: Annotated[list[str], msgspec.Meta(min_length=1)] = field(
        metadata=explained("Bundles that judge.", 'bundles = ["tile-patchcore"]')
    )
    store: str = field(
        default="neighbours",
        metadata=explained(
            "Folder of the records and of the index over them.", 'store = "neighbours"'
        ),
    )
    samples: str = field(
        default="",
        metadata=explained("Folder of pictures to click on, on the page.", 'samples = "parts"'),
    )


@dataclass(frozen=True)
class Page:
    """Who sees the screens and the API, and where."""

    host: str = field(
        default="127.0.0.1",
        metadata=explained(
            "Address to listen on; 0.0.0.0 for the network, with a password in LINESIDE_PASSWORD.",
            'host = "127.0.0.1"',
        ),
    )
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = field(
        default=7860, metadata=explained("0 for any free port.", "port = 7860")
    )
    root_path: str = field(
        default="",
        metadata=explained("Path below which a proxy shows it all.", 'root_path = "/line3"'),
    )
    no_password: bool = field(
        default=False,
        metadata=explained("Serve a network without asking for a password.", "no_password = true"),
    )
    api_token_file: str = field(
        default="",
        metadata=explained(
            "Programs need a token of this file, see lineside token.",
            'api_token_file = "api-tokens.json"',
        ),
    )
    users_file: str = field(
        default="",
        metadata=explained(
            "People who log in with passwords and roles of this file, see lineside user.",
            'users_file = "users.json"',
        ),
    )
    trusted_proxies: list[str] = field(
        default_factory=list,
        metadata=explained(
            "Proxies whose X-Forwarded-For is believed.", 'trusted_proxies = ["10.0.0.5"]'
        ),
    )


@dataclass(frozen=True)
class EngineTable:
    """What the bundles run on."""

    engine: Literal["openvino", "onnxruntime"] = field(
        default="openvino", metadata=explained("openvino or onnxruntime.", 'engine = "openvino"')
    )
    precision: str = field(
        default="fp32",
        metadata=explained("Precision variant of the bundles.", 'precision = "fp32"'),
    )
    device: str = field(
        default="CPU", metadata=explained("CPU, GPU, NPU or AUTO.", 'device = "CPU"')
    )
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = field(
        default=None,
        metadata=explained(
            "CPU threads; the engine's own choice where it is left out.", "threads = 2"
        ),
    )
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = field(
        default=10.0,
        metadata=explained("An inference that takes longer is given up.", "deadline_s = 10.0"),
    )
    isolate: bool = field(
        default=False,
        metadata=explained(
            "Run the engine in a process of its own: should it crash, one part cannot be judged.",
            "isolate = true",
        ),
    )
    signed_by: str = field(
        default="",
        metadata=explained(
            "File of public keys, one of which must have signed each bundle.",
            'signed_by = "line.key.pub"',
        ),
    )


@dataclass(frozen=True)
class Source:
    """Where parts come from."""

    name: Name = field(
        metadata=explained("Name on the screen and in the records.", 'name = "press 3"')
    )
    watch: str = field(
        metadata=explained(
            "A folder that fills up, a video, the number of a camera, or an RTSP or HTTP URL.",
            'watch = "incoming"',
        )
    )
    bundle: str = field(
        default="",
        metadata=explained(
            "Which bundle judges; may be left out where there is one.", 'bundle = "tile-patchcore"'
        ),
    )


@dataclass(frozen=True)
class PicturesTable:
    """Which frames of cameras, streams and videos are kept; files stay where they are."""

    keep: Literal["none", "flagged", "all"] = field(
        default="flagged",
        metadata=explained("Frames of these parts are kept: none, flagged or all.", 'keep = "all"'),
    )
    most_mib: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = field(
        default=2000,
        metadata=explained("Space for them in MiB; the oldest go first.", "most_mib = 2000"),
    )


@dataclass(frozen=True)
class OutputTable:
    """Who is told of every verdict."""

    name: Name = field(metadata=explained("Name on the screen.", 'name = "mes"'))
    url: str = field(
        metadata=explained(
            "http, https, mqtt, mqtts, modbus, csv:///FOLDER for a file a shift, or "
            "folder:///FOLDER for pictures; with the user's name where one is asked for.",
            'url = "http://mes:8080/verdicts"',
        )
    )
    topic: str = field(
        default="lineside/{source}",
        metadata=explained(
            "Of MQTT; {source} and {verdict} stand for the part's.", 'topic = "lineside/{source}"'
        ),
    )
    verdicts: Annotated[list[VerdictName], msgspec.Meta(min_length=1)] = field(
        default_factory=lambda: ["good", "anomalous", "cannot_judge"],
        metadata=explained("Which are delivered.", 'verdicts = ["anomalous", "cannot_judge"]'),
    )
    secret_variable: str = field(
        default="",
        metadata=explained(
            "Environment variable with its token or password.", 'secret_variable = "MES_TOKEN"'
        ),
    )
    most_waiting: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = field(
        default=100_000,
        metadata=explained(
            "Verdicts that may wait for it; then the oldest are given up.", "most_waiting = 100000"
        ),
    )
