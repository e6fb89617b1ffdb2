"""The factory's neighbours on one machine: a collector, a controller, and a week of ship traffic."""
