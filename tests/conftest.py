"""Fixtures for every test."""

from hypothesis import HealthCheck, settings

from tests.brokers import apache_kafka, noida, own_kafka, own_noida

__all__ = ["apache_kafka", "noida", "own_kafka", "own_noida"]

# No verdict may depend on how fast the machine is, or how busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
