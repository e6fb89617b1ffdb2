"""Fixtures for every test."""

from tests.brokers import apache_kafka, noida

__all__ = ["apache_kafka", "noida"]
