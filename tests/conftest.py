"""Fixtures for every test."""

import os

from hypothesis import HealthCheck, settings

from tests.brokers import apache_kafka, noida, own_kafka, own_noida

__all__ = ["apache_kafka", "noida", "own_kafka", "own_noida"]

# No verdict may depend on how fast the machine is, how busy, or on chance: a failure is one on every machine.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
