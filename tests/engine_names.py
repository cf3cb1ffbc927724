"""The engines that can run here; `--without llvmlite` leaves two."""

try:
    import llvmlite  # noqa: F401  # only whether it is there

    ENGINES = ("loop", "foreach", "fused")
except ImportError:
    ENGINES = ("loop", "foreach")
