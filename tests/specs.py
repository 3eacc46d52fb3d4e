"""A small catalogue, and specs that are valid by it: for tests of parsing and checking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.provider import JobType, Method, Provider

IMPORT_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "bucket": {"type": "string", "minLength": 1, "description": "Where the files are."},
        "prefix": {"type": "string", "default": ""},
        "stream": {"type": "string", "x-stream": "writes"},
        "timestampField": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "maxRejects": {"type": "integer", "minimum": 0, "default": 0},
        "ratio": {"type": "number", "exclusiveMaximum": 10},
        "compression": {"enum": ["none", "gzip", "zstd"], "default": "none"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "default": []},
        "page": {"$ref": "#/$defs/Page"},
        "extra": {"type": "object"},
        "header": {"type": "boolean", "default": True},
    },
    "required": ["bucket", "stream"],
    "additionalProperties": False,
    "$defs": {
        "Page": {
            "type": "object",
            "properties": {"size": {"type": "integer"}, "by": {"const": "offset"}},
            "additionalProperties": False,
        }
    },
}

EXPORT_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "stream": {"type": "string", "x-stream": "reads"},
        "url": {"type": "string", "pattern": "^https?://"},
        "batchSize": {"type": "integer", "minimum": 1, "maximum": 10000, "default": 500},
        "target": {
            "oneOf": [
                {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]},
                {"type": "object", "properties": {"table": {"type": "string"}}, "required": ["table"]},
            ]
        },
    },
    "required": ["stream", "url"],
    "additionalProperties": False,
}


def _never(*_: Any) -> Any:
    raise AssertionError("parsing runs nothing")


def job_type(name: str, schema: Mapping[str, Any], *, type: Any = "import", authorization: Any = "optional") -> JobType:
    return JobType(
        name=name, type=type, title=name, schema=schema, config=dict, run=_never, authorization=authorization
    )


CATALOGUE: Mapping[str, Provider] = {
    "s3": Provider(
        name="s3",
        title="Amazon S3",
        methods=(
            Method(
                name="access-key", title="Access key", fields={"accessKeyId": "the id", "secretAccessKey": "the key"}
            ),
            Method(name="none", title="Public"),
        ),
        job_types=(
            job_type("import-csv", IMPORT_SCHEMA),
            job_type("import-private", IMPORT_SCHEMA, authorization="required"),
        ),
    ),
    "hook": Provider(
        name="hook",
        title="Webhooks",
        methods=(Method(name="bearer", title="Bearer token", fields={"token": "the token"}),),
        job_types=(job_type("export-webhook", EXPORT_SCHEMA, type="export"),),
    ),
    "disk": Provider(
        name="disk",
        title="Files",
        job_types=(job_type("import-files", IMPORT_SCHEMA, authorization="none"),),
    ),
}

JOB = """\
apiVersion: reconciler/v1
kind: Job
metadata:
  name: import-orders            # identity
  title: Import orders from S3
  description: Nightly order files of the shop
  labels: {team: growth}
spec:
  provider: s3
  jobType: import-csv
  authorization: main-aws
  schedule: {every: 1h}
  suspend: false                 # true pauses the job
  rerun: ""
  restart: "2"
  timeout: 2h
  retry: {initial: 30s, factor: 2, max: 30m, jitter: 0.2, failAfter: 10h}
  dependsOn: [import-customers]
  deletionPolicy: delete
  quiet: {from: "22:00", to: "06:00", timezone: Europe/Paris}
  expiresAt: 2027-06-30T00:00:00Z
  config:
    bucket: shop-exports
    prefix: orders/
    stream: orders
    timestampField: ordered_at
"""

AUTHORIZATION = """\
apiVersion: reconciler/v1
kind: Authorization
metadata: {name: main-aws}
spec:
  provider: s3
  method: access-key
  credentials:
    accessKeyId: {env: AWS_ACCESS_KEY_ID}
    secretAccessKey: {file: /run/secrets/aws}
"""

STREAM = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec:
  columns: {amount: "decimal(12,2)", ordered_at: timestamp}
"""

AUDIENCE = """\
apiVersion: reconciler/v1
kind: Audience
metadata: {name: everyone}
spec: {where: "true"}
"""

CRON_JOB = """\
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-customers, labels: {team: growth, tier: "1"}}
spec:
  provider: s3
  jobType: import-csv
  schedule: {cron: "*/5 3 * * mon-fri", timezone: Europe/Paris}
  config: {bucket: b, stream: orders, maxRejects: 100, ratio: 0.5, tags: [a, "b"], page: {size: 10}, extra: {deep: [1, [2]]}}
"""

EVERY_KIND = "---\n".join((JOB, AUTHORIZATION, STREAM, AUDIENCE, CRON_JOB))
