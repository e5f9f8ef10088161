"""The station as it runs: sources that are judged, the operator's screens, what leaves the box."""
