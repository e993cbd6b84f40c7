"""Time and peak memory of each feature, for airspeed velocity."""
