"""One verb of the ORAS client as a command: `oras_client.py VERB …`.

The library has no command line of its own. The login file is that of Docker in $HOME; the authentication backend is
$ORAS_AUTH_BACKEND.
"""

import argparse
import json
import os
import sys

import oras.client
import oras.oci


def login(client, arguments):
    password = sys.stdin.read()
    client.login(arguments.user_name, password, hostname=arguments.registry, tls_verify=False)


def push(client, arguments):
    subject = None
    if arguments.subject:
        media_type, digest, size = arguments.subject.split(",")
        subject = oras.oci.Subject(media_type, digest, int(size))
    response = client.push(
        target=arguments.target,
        files=arguments.files,
        manifest_config=arguments.config,
        subject=subject,
        do_chunked=arguments.chunked,
        # Its paths must otherwise lie below the working folder.
        disable_path_validation=True,
        quiet=True,
    )
    print(response.headers["Docker-Content-Digest"])


def pull(client, arguments):
    for path in client.pull(target=arguments.target, outdir=arguments.folder):
        print(path)


def tags(client, arguments):
    client.auth.load_configs(client.get_container(arguments.target))
    print(json.dumps(client.get_tags(arguments.target)))


def delete(client, arguments):
    client.auth.load_configs(client.get_container(arguments.target))
    name, tag = arguments.target.rsplit(":", 1)
    if not client.delete_tag(name, tag):
        sys.exit("there is no such tag")


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(required=True)

    def verb(function, *positional):
        verb = verbs.add_parser(function.__name__)
        verb.set_defaults(function=function)
        for name in positional:
            verb.add_argument(name)
        return verb

    verb(login, "registry", "user_name")
    pushing = verb(push, "target")
    pushing.add_argument("files", nargs="*")
    pushing.add_argument("--config")
    pushing.add_argument("--subject", help="media type, digest and size, with commas between")
    pushing.add_argument("--chunked", action="store_true")
    verb(pull, "target", "folder")
    verb(tags, "target")
    verb(delete, "target")
    arguments = parser.parse_args()

    registry = getattr(arguments, "registry", None) or arguments.target.split("/")[0]
    client = oras.client.OrasClient(
        hostname=registry, insecure=True, auth_backend=os.environ["ORAS_AUTH_BACKEND"]
    )
    try:
        arguments.function(client, arguments)
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))


main()
