# What a developer and CI run. `make setup` once, then `make demo`, `make test`, `make lint`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
CARGO_TARGET ?= $(or $(CARGO_TARGET_DIR),target)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Exactly what the lock file says; a registry that hiccups gets two more chances.
NPM_CI = for n in 1 2 3; do npm ci --ignore-scripts --no-audit --no-fund && break; [ $$n -lt 3 ] || exit 1; sleep $$((n * 5)); done
APT = $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
INTEROP := tests/interop/node
RIVAL := benches/peers/node

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

.PHONY: setup
setup: tools $(INTEROP)/node_modules/.package-lock.json ## redis-server, the pinned BullMQ versions and a first build
	$(CARGO) build --quiet --all-features --example demo

.PHONY: tools
tools:
	@command -v redis-server >/dev/null || { $(APT) redis-server; }
	@command -v cc >/dev/null || { $(APT) gcc libc6-dev; }
	@command -v npm >/dev/null || { echo "node and npm are needed on the PATH (Node 20 or later)" >&2; exit 1; }

%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	cd $* && $(NPM_CI)
	@touch $@

.PHONY: demo
demo: setup ## jobs from Node to Rust and back, on this repository's files
	$(CARGO) run --quiet --all-features --example demo

.PHONY: test
test: setup ## all tests: units, integration, interop with Node, examples, doctests
	$(CARGO) test --all-features

.PHONY: interop
interop: setup ## only the tests with Node on the other side
	$(CARGO) test --all-features --test main interop::

.PHONY: soak
soak: setup ## minutes of Node and oxmq workers under kill -9; OXMQ_KILL_JOBS says how many jobs
	$(CARGO) test --all-features --test main a_mixed_fleet -- --ignored --nocapture

.PHONY: lint
lint: luacheck ## formatting, clippy, luacheck and docs, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --all-features

.PHONY: luacheck
luacheck:
	@command -v luacheck >/dev/null || { $(APT) lua-check; }
	$(CARGO) test --quiet --all-features --lib luacheck -- --ignored

.PHONY: docs
docs: ## the API documentation
	$(CARGO) doc --no-deps --all-features
	@echo "$(CARGO_TARGET)/doc/oxmq/index.html"

.PHONY: bench-setup
bench-setup: tools $(RIVAL)/node_modules/.package-lock.json ## the peers that we are measured against
	$(CARGO) build --release --locked --manifest-path benches/peers/official/Cargo.toml --target-dir $(CARGO_TARGET)/peers

.PHONY: bench
bench: bench-setup ## throughput beside the peers; BENCH="…" passes options on
	$(CARGO) bench --bench throughput -- $(BENCH)

.PHONY: bench-growth
bench-growth: tools ## the same work with up to a million jobs around; BENCH="…" passes options on
	$(CARGO) bench --bench throughput -- --growth $(BENCH)

.PHONY: bench-micro
bench-micro: tools ## the codec, and Redis time per script and batch size
	$(CARGO) bench --features bench --bench codec
	$(CARGO) bench --features bench --bench scripts
