"""What the edge box runs: bundle, engines, preprocessing, Inspector. Never imports torch."""

import sys

# As soon as it is imported, OpenVINO tells its makers over the network, from a process of its own
# that complains on stderr where there is none; NNCF does so too. A box beside a line does not talk
# to strangers. Without the package that does the talking both use silent stand-ins of their own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
