# What a person types. `make test` on a fresh Debian machine installs what it needs and tests everything.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Programs that take minutes to build outlive `cargo clean` here.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/berth
export PATH := $(CACHE)/cargo-tools/bin:$(PATH)

# Starts PostgreSQL and S3 for the tests, and tells them where.
SERVICES = postgres=$$(scripts/postgres.sh); bucket=$$(scripts/garage.sh); trap 'scripts/garage.sh stop' EXIT; \
	export BERTH_TEST_POSTGRES_URL="$$postgres" BERTH_TEST_S3="$$bucket"

.PHONY: help
help: ## Says what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: tools
tools: ## Installs what the tests need: the clients (docker, podman, buildah, skopeo, containerd, ORAS, Schemathesis), nginx, busybox, PostgreSQL, Garage, kubectl
	@scripts/tools.sh

.PHONY: lint-tools
lint-tools:
	@scripts/cargo-tools.sh $(CACHE)/cargo-tools

# Half of the time a test waits: for a server that starts, for rights that end.
TEST_THREADS ?= $(shell echo $$(($$(nproc) * 3)))

# These bring a stack of their own, the same every time.
WITH_OWN_STACK = backup:: bucket:: durability:: hot_path:: proxies:: tls:: token_dances::

# Each stack runs the test binaries of the first run: `--workspace` everywhere, or cargo builds them again.
.PHONY: test
test: tools ## Tests everything on the embedded defaults, and with the clients; and all but the units on PostgreSQL, and on two replicas with PostgreSQL and S3
	@$(SERVICES); export BERTH_TEST_CLIENTS=1; status=0; threads=--test-threads=$(TEST_THREADS); \
	cargo test --workspace --no-fail-fast -- $$threads || status=1; \
	everywhere="--test api --test clients --test conformance --test torture"; once="$(WITH_OWN_STACK:%=--skip %)"; \
	BERTH_TEST_STACK=postgres cargo test --workspace --no-fail-fast $$everywhere --test metadata -- $$threads $$once || status=1; \
	BERTH_TEST_STACK=replicas cargo test --workspace --no-fail-fast $$everywhere -- $$threads $$once || status=1; \
	exit $$status

# How long `make torture` goes on: operations of the race, and seconds of kills, on each stack.
OPERATIONS ?= 100000
SECONDS_OF_KILLS ?= 300

.PHONY: torture
torture: tools ## Races and kills servers for some ten minutes on each stack; OPERATIONS and SECONDS_OF_KILLS say how long
	@$(SERVICES); export BERTH_TORTURE_OPERATIONS=$(OPERATIONS) BERTH_TORTURE_SECONDS=$(SECONDS_OF_KILLS); \
	for stack in sqlite postgres replicas; do \
	  BERTH_TEST_STACK=$$stack cargo test --release --test torture -- --nocapture --test-threads=1; \
	done

# The advisories are left to `make audit`: their database is a git repository on the Internet, and a build should
# neither fail when it is out of reach nor change its mind overnight.
.PHONY: lint
lint: lint-tools ## Checks form, lints, documentation, licences and unused dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check --hide-inclusion-graph bans licenses sources
	cargo machete
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: bench-quick
bench-quick: ## Compares Berth with Debian's docker-registry, on one core each, in under four minutes
	@scripts/tools.sh bench
	cargo build --release -p berth -p berth-bench
	target/release/berth-bench compare

.PHONY: bench-push
bench-push: ## Compares the push of 1 GiB from files with skopeo's, on one core each
	@scripts/tools.sh bench
	cargo build --release -p berth -p berth-bench
	target/release/berth-bench clients

.PHONY: audit
audit: lint-tools ## Checks the dependencies against the advisory database (needs the Internet)
	cargo deny check advisories

.PHONY: run
run: ## Starts a registry on its default ports, with its data in ./data
	cargo run -- serve --data-dir data --pull-listen 127.0.0.1:5001

.PHONY: image
image: ## Builds the container image "berth" from the sources, with docker
	docker build --tag berth \
	  --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)" \
	  --build-arg REVISION="$$(git rev-parse HEAD)" .

.PHONY: clean
clean: ## Removes what cargo built; ./data and the cached tools stay
	cargo clean
