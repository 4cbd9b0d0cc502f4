"""The names that the glossary replaced, each with the one that stands for it."""

from __future__ import annotations

from typing import Final

PARTS: Final = {
    "core": "stage; a core of the processor is a cpu",
    "cores": "stages; the cores of the processor are cpus",
    "elsewhere": "run_on_cluster",
    "machine": "host",
    "machines": "hosts",
    "node": "host",
    "nodes": "hosts",
    "door": "ListenConfig, endpoint or authenticator",
    "doors": "ListenConfig, endpoints or authenticator",
    "wish": "options, engine_options or preferred_layers",
    "wishes": "options, engine_options or preferred_layers",
    "stretch": "set_window",
    "stretched": "set_window, remote",
    "eager": "in_startup",
    "shelf": "SharedMemoryRing",
    "shelves": "SharedMemoryRing",
    "knock": "configure_client",
    "guard": "configure_server",
    "judge": "authenticate",
    "verdict": "AuthDecision",
    "narrow": "quantized",
    "halves": "float16",
    "widths": "EdgeFormats, edge_dtypes",
    "layouts": "gone",
    "tape": "MessageRecorder",
    "payload": "recording, messages",
    "payloads": "recording, messages",
    "journal": "Tracer",
    "meter": "InstrumentedStage",
    "complain": "warn",
    "facts": "DatasetInfo",
    "beat": "heartbeat, resend_credits",
    "told": "credit_sent",
    "guess": "predict, Prediction",
    "guesses": "predictions",
    "guessed": "predicted",
    "teach": "fit",
    "teaches": "fits",
    "taught": "on_true_gradient",
    "truth": "true_gradient",
    "picture": "image",
    "pictures": "images",
    "slope": "derivative",
    "spelled": "validate",
    "books": "message_accounting",
    "accounts": "EdgeCounts",
    "strangers": "unmatched",
    "story": "causality",
    "chapter": "CausalNode",
    "chapters": "CausalNode",
    "fate": "outcome",
    "tap": "follow",
    "tally": "RunStats",
    "conduct": "comparison runner",
    "conductor": "EventLoop",
    "outlets": "export_commands",
    "asking": "trace_options",
    "bury": "reap",
    "deaf": "stalled",
}
"""Parts of no name of a file, a class, a function, a test, a parameter, a variable, an option or a
key of a pipeline; each with what stands for it."""

PARTS_BUT_IN_TESTS: Final = {
    "several": "cluster",
    "word": "kind, key, argument",
    "words": "parsing, StringTable, log_tail, arguments",
    "way": "link",
    "far": "remote",
    "look": "probe, sample",
    "settle": "acknowledge",
    "dry": "empty",
    "mark": "Marker",
    "marks": "markers",
    "why": "reason",
    "watch": "observer",
    "sound": "require_finite, valid",
    "silence": "NullTracer",
}
"""The same, but the names of tests, which are sentences, may have them."""

NAMES: Final = {
    "at_home": "local_address",
    "home": "local_address, worker_config, collect_artifacts",
    "flow": "CreditWindow",
    "links": "transport",
    "incoming": "RingReader",
    "outgoing": "RingWriter",
    "put": "send",
    "take": "receive",
    "tell": "report",
    "hear": "receive",
    "call": "recording",
    "log": "TraceWriter, log_path",
    "of": "a verb: fit, from_…",
    "finite": "require_finite",
    "nonfinite": "on_nonfinite",
    "most_window": "max_window",
    "lost": "record_loss; for messages alone",
    "plain": "to_builtin",
    "plain_value": "to_builtin",
    "nearest": "did_you_mean",
    "account": "EdgeCounts",
    "wires": "edge_dtypes",
    "halve": "to_float16",
}
"""Names of no class, function or file: these words are fine as parts of other names."""

CLASSES: Final = {
    "Call": "Operation",
    "Decoupled": "DniLayer",
    "Described": "DatasetReady",
    "Entered": "ModelInput",
    "Fixed": "NoBackpropLayer",
    "Guess": "Prediction",
    "Incoming": "RingReader",
    "Joined": "ConditionedInput",
    "Locked": "BackpropLayer",
    "Outgoing": "RingWriter",
    "Top": "OutputLayer",
    "Unlocked": "UnlockedLayer, UnlockedDniLayer",
}
"""Names of no class: as adjectives, in functions, these words are fine."""

EXCEPTIONS: Final = {
    "CausalNode": "a node of a tree of causes, as in graph theory",
    "RunStateMachine": "a state machine is not a host",
}
"""Names that are right although they break a rule, each with its reason."""

SHARED: Final = {
    "main": "each program begins there",
    "list_datasets": "cli has what programs use",
    "load": "each module of a data set has it",
    "get": "each module of a data set has it",
    "find": "each module of a data set has it",
}
"""Names of public functions of which several modules have one, each with its reason."""

TEXTS: Final = {
    "free": "async",
    "payloads": "messages",
    "most_window": "max_window",
    "node1": "host1",
    "node2": "host2",
    "NOT WELL": "FAIL",
}
"""Literals that no code outside the tests has: values and keys of pipelines, names of hosts."""

PROCESSORS: Final = (
    "coordinator/cluster/agent.py",
    "coordinator/cluster/head.py",
    "coordinator/cluster/registry.py",
    "coordinator/resources/",
    "tests/test_processor_cores.py",
)
"""Files in which cores are those of a processor."""

HINTS: Final = "protocol/renamed.py"
"""The one file outside the tests that has them: it holds the old names, for hints in errors."""
