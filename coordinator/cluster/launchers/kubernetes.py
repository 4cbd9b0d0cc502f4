"""A manifest for Kubernetes: a Job for the head, its Service, and an indexed Job of agents.

The head generates its keys when it starts, so the manifest cannot contain the token. The pods of
the agents wait for a Secret with the token; the first lines of the manifest show how to make it.
"""

from __future__ import annotations

import json
import re
from textwrap import indent
from typing import Final

from protocol import RunError

_HEAD: Final = re.compile(r"tcp://([a-z]([a-z0-9-]{0,55}[a-z0-9])?):(\d{1,5})")

_TEMPLATE: Final = """\
# kubectl apply -f this file; the agents wait for the token, which the head prints:
#   kubectl logs job/{name} | sed -n 's/^dni join //p' \\
#     | kubectl create secret generic {name}-token --from-file=token=/dev/stdin
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}-pipeline
data:
  pipeline.toml: |
{pipeline}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    job-name: {name}
  ports:
    - port: {port}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: head
          image: {image}
          command: ["dni", "up", "/pipeline/pipeline.toml", "--run-dir", "/run/dni/run"]
          args: ["--bind", "tcp://$(POD_IP):{port}", "--advertise", "tcp://{name}:{port}"]
          env:
            - name: POD_IP
              valueFrom:
                fieldRef:
                  fieldPath: status.podIP
          volumeMounts:
            - name: pipeline
              mountPath: /pipeline
            - name: run
              mountPath: /run/dni
      volumes:
        - name: pipeline
          configMap:
            name: {name}-pipeline
        - name: run
          emptyDir: {{}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}-agents
spec:
  completionMode: Indexed
  completions: {agents}
  parallelism: {agents}
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: agent
          image: {image}
          command: ["sh", "-c", "exec dni join - --slots 1 --cpus 1 < /run/token/token"]
          resources:
            requests:
              cpu: "1"
          volumeMounts:
            - name: token
              mountPath: /run/token
              readOnly: true
      volumes:
        - name: token
          secret:
            secretName: {name}-token
            defaultMode: 0400
"""


def kubernetes_manifest(pipeline: str, agents: int, image: str, head: str) -> str:
    """The manifest for the text of a pipeline file, with one pod for each of the `agents`.

    `head` is tcp://NAME:PORT, the name of the Service of the head and its port. Raises RunError
    where it is not.
    """
    found = _HEAD.fullmatch(head)
    if not found:
        raise RunError(f"--head: {head!r} is not tcp://NAME:PORT with the name of a Service")
    return _TEMPLATE.format(
        name=found[1],
        port=int(found[3]),
        agents=agents,
        image=json.dumps(image),
        pipeline=indent(pipeline, " " * 4),
    )
