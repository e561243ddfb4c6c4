"""Event files that TensorBoard reads, written by its own package without TensorFlow.

They contain wall times and are therefore no results: no stage declares, compares or bundles them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path


class EventFile:
    """The curve of one training for TensorBoard; the file appears with the first point.

    Points beyond `seen` in earlier files of the folder belong to lost work that is repeated: a start mark
    after `seen` makes TensorBoard drop them.

    Parameters
    ----------
    folder : of all the files of this training. seen : samples already seen when it starts or resumes.
    """

    def __init__(self, folder: Path, seen: int) -> None:
        self.folder, self.seen = folder, seen
        self._path: Path | None = None

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Append values after `samples` samples; the file is closed after each call."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        points = Summary(value=[Summary.Value(tag=name, simple_value=v) for name, v in values.items()])
        events = [Event(step=samples, summary=points)]
        if self._path is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Names sort by time, which is the order in which TensorBoard reads them.
            self._path = self.folder / f"events.out.tfevents.{time.time_ns():020d}"
            start = SessionLog(status=SessionLog.START)
            events = [
                Event(file_version="brain.Event:2"),
                Event(step=self.seen + 1, session_log=start),
                *events,
            ]
        with self._path.open("ab") as stream:
            writer = RecordWriter(stream)
            for event in events:
                event.wall_time = time.time()
                writer.write(event.SerializeToString())
