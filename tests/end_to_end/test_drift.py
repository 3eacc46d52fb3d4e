"""`reconcile drift` beside a daemon that never rests: what is being written is no drift, what somebody changes is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.end_to_end.daemon import Daemon, reconcile

#: How often a busy daemon is looked at.
LOOKS = int(os.environ.get("RECONCILE_LOOKS", "3"))
JOBS = 6


def spec(number: int) -> str:
    return f"""---
apiVersion: reconciler/v1
kind: Job
metadata: {{name: import-{number}}}
spec:
  provider: files
  jobType: import-csv
  schedule: {{continuous: true}}
  retry: {{initial: 10ms, max: 20ms}}
  config: {{path: "in/{number}-*.csv", stream: orders}}
"""


def test_beside_a_busy_daemon_only_what_somebody_changed_is_drift(quick_path: Path) -> None:
    root = quick_path / "jobs.d"
    (root / "in").mkdir(parents=True)
    stream = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"
    (root / "orders.yaml").write_text(stream + "".join(map(spec, range(JOBS))))
    still = '  schedule: {cron: "0 3 1 1 *"}\n'
    quiet = spec(99).replace("  schedule: {continuous: true}\n", still)
    (root / "quiet.yaml").write_text(quiet)
    with Daemon(root) as daemon:
        daemon.wait_for("import-0", "Created")
        for look in range(LOOKS):
            for number in range(JOBS):
                (root / "in" / f"{number}-{look}.csv").write_text("a,b\n" + "1,2\n" * 1_000)
            daemon.wait_for("import-0", "Synced")
            found = reconcile("drift", "--root", str(root))
            assert (found.returncode, found.stdout.splitlines()[:-1]) == (0, [])
        path = root / "import-99.status.yaml"
        path.write_text(path.read_text().replace("Sleeping", "Failed"))
        found = reconcile("drift", "--root", str(root))
        assert found.returncode == 4
        assert found.stdout.startswith("status ")
        assert len(found.stdout.splitlines()) == 2
