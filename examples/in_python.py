"""A pipeline in Python: create it, check it, train it, evaluate it.

python examples/in_python.py
"""

from cli import check, evaluate, run
from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig

hidden = LayerConfig(("linear 128", "batchnorm", "relu"))
pipeline = Pipeline(
    name="in-python",
    rule="cdni",
    data=DataConfig(name="digits", batch=64),
    train=TrainConfig(steps=1000, lr=1e-3),
    layer=(hidden, hidden, LayerConfig(("linear 10",))),
)
print(*check(pipeline), sep="\n")
result = run(pipeline)
print(result.folder, result.summary["outcome"], f"{result.summary['test_error']:.2f} %")
print(evaluate(result.folder).errors, "errors in the test set")
