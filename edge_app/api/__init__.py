"""The box for programs: ``/v1`` over HTTP, beside the operator's page on one server."""
