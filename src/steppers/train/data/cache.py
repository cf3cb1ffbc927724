"""Where downloaded files are kept."""

import os
from pathlib import Path

VARIABLE = "STEPPERS_DATA"


def cache_folder() -> Path:
    """The folder that `STEPPERS_DATA` names, or ~/.cache/steppers. It need not exist yet."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "steppers"
