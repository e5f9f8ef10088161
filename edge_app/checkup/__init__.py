"""Whether a store answers and a station's configuration can work here, for ``lineside doctor``."""

from edge_app.checkup.configuration import station_findings
from edge_app.checkup.store import store_findings

__all__ = ["station_findings", "store_findings"]
