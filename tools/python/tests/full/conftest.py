"""Loads `needs` before any test module, because it switches telemetry off."""

import needs  # noqa: F401
