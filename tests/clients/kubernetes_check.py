"""Reads Kubernetes objects as YAML, and prints them as JSON unless something in them is in no schema of a version.

Usage: kubernetes_check.py VERSION...
"""

import json
import sys

import kubernetes_validate
import yaml


def main():
    # Where a patch deleted an object, Debian's kubectl leaves nothing of it, or its namespace alone.
    objects = [item for item in yaml.safe_load_all(sys.stdin) if "kind" in (item or {})]
    wrong = []
    for item in objects:
        name = f"{item['kind']}/{item['metadata']['name']}"
        for version in sys.argv[1:]:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                wrong.append(f"{name}, {version}: {'.'.join(map(str, error.path))}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                wrong.append(f"{name}: {error.message}")
    if wrong:
        sys.exit("\n".join(wrong))
    json.dump(objects, sys.stdout)


main()
