"""What all tests share."""

import os
import shutil
from pathlib import Path

# Durable writes are synced; on a disk that costs minutes, in memory nothing. The syncs that matter
# are checked by order (tests/crash), not by pulling a plug.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
