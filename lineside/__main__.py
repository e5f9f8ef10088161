"""``python -m lineside`` is the command ``lineside``."""

from runtime.cli import main

main()
