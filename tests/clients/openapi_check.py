"""Says what is wrong with an OpenAPI document: as a document of 3.1, and in its examples.

Usage: openapi_check.py FILE
"""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator


def examples(value, path=""):
    """Every example with its schema and where it stands: of a media type, and of a schema."""
    if isinstance(value, dict):
        schema = value.get("schema")
        if schema is not None and "example" in value:
            yield path, schema, value["example"]
        if "type" in value and isinstance(value.get("examples"), list):
            for example in value["examples"]:
                yield path, value, example
        for key, inner in value.items():
            if key not in ("example", "examples"):
                yield from examples(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from examples(inner, f"{path}/{index}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    wrong = [f"the document: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    count = 0
    for path, schema, example in examples(document):
        count += 1
        # References are to the components of the document, which a schema alone does not have.
        whole = {**schema, "components": document["components"]}
        validator = Draft202012Validator(whole, format_checker=FormatChecker())
        wrong += [f"{path}: {error.message}" for error in validator.iter_errors(example)]
    print(f"{count} examples")
    if wrong:
        sys.exit("\n".join(wrong))


main()
