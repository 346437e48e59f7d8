# What a person types. `make test` on a fresh Debian machine installs what it needs and tests everything.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Programs that take minutes to build outlive `cargo clean` here.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/berth
export PATH := $(CACHE)/cargo-tools/bin:$(PATH)

# What the clients are tested against, and what people run.
RELEASE = $(abspath $(or $(CARGO_TARGET_DIR),target))/release/berth

.PHONY: help
help: ## Says what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: tools
tools: ## Installs what the tests need: the clients (docker, podman, buildah, skopeo, containerd, ORAS, Schemathesis), nginx, busybox, PostgreSQL
	@scripts/tools.sh

.PHONY: lint-tools
lint-tools:
	@scripts/cargo-tools.sh $(CACHE)/cargo-tools

.PHONY: test
test: tools ## Tests everything, with PostgreSQL, and with the clients against a release build; `cargo test` alone needs none of them
	cargo build --release
	@url=$$(scripts/postgres.sh); \
	export BERTH_TEST_POSTGRES_URL="$$url" BERTH_TEST_CLIENTS=1 BERTH_TEST_BINARY="$(RELEASE)"; \
	cargo test --workspace --no-fail-fast

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
