"""Numbers that must be whole and not too small."""


def check_count(who: str, name: str, value: object, least: int) -> None:
    """Raise TypeError or ValueError unless `value` is an int, and at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{who}: {name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{who}: {name} must be at least {least}, got {value}")
