"""The operator's page, the API, and the neighbor store on Qdrant."""

import runtime  # noqa: F401 - keeps OpenVINO silent, whatever is imported next
