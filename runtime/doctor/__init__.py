"""Whether a machine can do the work: what each check found, and what to do next."""

from runtime.doctor.bundle import bundle_findings
from runtime.doctor.finding import Finding, State, guarded
from runtime.doctor.machine import machine_findings
from runtime.doctor.source import source_findings

__all__ = [
    "Finding",
    "State",
    "bundle_findings",
    "guarded",
    "machine_findings",
    "source_findings",
]
