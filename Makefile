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
setup: both-sides ## redis-server, the pinned BullMQ versions, and tools of the tests
	@command -v tmux >/dev/null || { $(APT) tmux; }
	@command -v openssl >/dev/null || { $(APT) openssl; }

.PHONY: both-sides
both-sides: tools $(INTEROP)/node_modules/.package-lock.json

.PHONY: tools
tools:
	@command -v redis-server >/dev/null || { $(APT) redis-server; }
	@command -v cc >/dev/null || { $(APT) gcc libc6-dev; }
	@command -v npm >/dev/null || { echo "node and npm are needed on the PATH (Node 20 or later)" >&2; exit 1; }

%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	cd $* && $(NPM_CI)
	@touch $@

.PHONY: demo
demo: both-sides ## jobs from Node to Rust and back, on this repository's files
	$(CARGO) run --quiet --package oxmq-demo

# Tests wait more than they compute: for servers that start, for locks that run out, for Node.
test test-cluster: export RUST_TEST_THREADS ?= 8

.PHONY: test
test: setup ## all tests: units, integration, interop with Node, examples, doctests
	$(CARGO) test --all-features

# Where the packages of `scripts/servers.sh` put more servers: each is a file that runs one.
SERVERS ?= $(shell scripts/servers.sh)

.PHONY: test-servers
test-servers: setup ## all tests on other servers, Redis 6.2 to Valkey 9; SERVERS="…" says on which
	CARGO="$(CARGO)" scripts/on_servers.sh all $(SERVERS)

.PHONY: test-servers-core
test-servers-core: setup ## the core of the tests on the oldest and the newest server
	CARGO="$(CARGO)" scripts/on_servers.sh core redis-6.2 valkey-9

.PHONY: test-cluster
test-cluster: setup ## all tests that can run there, on a Redis Cluster of three nodes; docs/servers.md says which cannot
	$(CARGO) build --quiet --all-features --examples
	OXMQ_TEST_CLUSTER=1 $(CARGO) test --all-features --test main -- --skip node_twins:: --skip interop::schedulers --skip interop::revival --skip rim:: \
		--skip sentinel:: --skip layers:: --skip package:: --skip mistakes:: --skip guides::

.PHONY: interop
interop: setup ## only the tests with Node on the other side
	$(CARGO) test --all-features --test main interop::

.PHONY: mistakes
mistakes: ## the compiler's whole answers to usual mistakes, which builds the crate once more; TRYBUILD=overwrite renews them
	$(CARGO) test --all-features --test main mistakes:: -- --include-ignored

BOARD := tests/dashboard/node

.PHONY: browser
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { $(APT) chromium chromium-driver; }

.PHONY: test-dashboard
test-dashboard: setup browser $(BOARD)/node_modules/.package-lock.json ## the dashboard in a browser, and bull-board on our queues
	$(CARGO) test --all-features --test main dashboard:: -- --ignored --skip pictures

.PHONY: night
night: setup ## the call at night of docs/night.md, step by step in a terminal of 80 × 24
	$(CARGO) test --all-features --test main cli::night

.PHONY: pictures
pictures: setup browser ## pictures of the dashboard's pages, in target/tmp/dashboard
	$(CARGO) test --all-features --test main dashboard::browser::pictures -- --ignored

.PHONY: times
times: setup ## how long pages and commands take with a million jobs and a thousand queues, by a release build
	$(CARGO) test --release --all-features --test main times:: -- --ignored --nocapture

.PHONY: soak
soak: setup ## minutes of Node and oxmq workers under kill -9; OXMQ_KILL_JOBS and OXMQ_SLOTS say how many jobs and slots; CLUSTER=1 on a cluster
	$(CARGO) test --all-features --test main $(if $(CLUSTER),a_cluster_that_never_rests,a_mixed_fleet) -- --ignored --nocapture --test-threads=1

FAILOVERS ?= 17

.PHONY: failovers
failovers: setup ## a table of what failovers and moved slots cost, of each kind FAILOVERS=17; half an hour; OF=planned is one kind
	OXMQ_FAILOVERS=$(FAILOVERS) $(if $(OF),OXMQ_FAILOVERS_OF='$(OF)') $(CARGO) test --all-features --test main figures_of_many -- --ignored --nocapture --test-threads=1

.PHONY: bench-cluster
bench-cluster: setup ## what a job costs in partitions, on one server and on a cluster, by a release build; and 1,024 of them
	$(CARGO) test --release --all-features --test main partitioned::figures -- --ignored --nocapture --test-threads=1

.PHONY: lint
lint: luacheck ## formatting, clippy, luacheck and docs, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --all-features

FEATURES := $(shell sed -n '/^\[features\]/,/^\[dep/s/^\([a-z-]*\) = .*/\1/p' Cargo.toml | grep -v '^default$$')
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: features
features: ## no feature, each alone, and all: each builds without a warning
	@for features in "" $(FEATURES) "$(FEATURES)"; do \
		echo "features: $${features:-none}"; \
		$(CARGO) clippy --quiet --lib --no-default-features --features "$$features" -- -D warnings || exit 1; \
	done

.PHONY: msrv
msrv: ## the library builds with the oldest Rust that we support, which is installed where the net allows
	@timeout 3m rustup toolchain install $(MSRV) --profile minimal --no-self-update >/dev/null 2>&1 || true
	@if rustup run $(MSRV) rustc --version; then \
		RUSTUP_TOOLCHAIN=$(MSRV) $(CARGO) check --quiet --locked --lib --all-features --target-dir $(CARGO_TARGET)/msrv; \
	else \
		echo "NOT CHECKED: Rust $(MSRV) cannot be installed; clippy has looked for what is newer in the standard library"; \
	fi

.PHONY: matrix
matrix: features msrv ## `features` and `msrv`

.PHONY: audit
audit: ## licences, bans, sources and, where the net allows, advisories of the dependencies; STRICT=1 fails where it does not
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --all-features check --hide-inclusion-graph bans licenses sources
	@if why="$$($(CARGO) deny fetch db 2>&1)"; then \
		$(CARGO) deny --all-features check --disable-fetch advisories; \
	else \
		echo "NOT CHECKED: known advisories, since their database cannot be fetched: $$(grep -v '^ *$$' <<< "$$why" | tail -n 1)"; \
		[ -z "$(STRICT)" ]; \
	fi

# The newest tag of a release: what the next one is compared with.
RELEASE = $(shell git tag --list 'v*' --sort=-version:refname | head -n 1)

.PHONY: semver
semver: ## what the next release would break, by cargo-semver-checks
	@if [ -z "$(RELEASE)" ]; then \
		echo "Nothing to compare with: there is no release yet, which would be a tag like v0.1.0."; \
		echo "From then on this compares the public API with that tag, and fails if the version in Cargo.toml does not say"; \
		echo "what changed: before 1.0 a breaking change needs a new minor version."; \
	else \
		command -v cargo-semver-checks >/dev/null || $(CARGO) install --locked cargo-semver-checks || exit 1; \
		$(CARGO) semver-checks --all-features --baseline-rev $(RELEASE); \
	fi

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
	$(CARGO) bench --features tls --bench throughput -- $(BENCH)

.PHONY: bench-page
bench-page: bench ## the same and a million jobs for their memory, written into docs/performance.md and its chart
	$(CARGO) bench --features tls --bench throughput -- --long
	python3 benches/peers/chart.py $(CARGO_TARGET)/bench/throughput.json $(CARGO_TARGET)/bench/memory.json

.PHONY: bench-growth
bench-growth: tools ## the same work with up to a million jobs around; BENCH="…" passes options on
	$(CARGO) bench --features tls --bench throughput -- --growth $(BENCH)

.PHONY: bench-micro
bench-micro: tools ## allocations per job, the codec, and Redis time per script and batch size
	$(CARGO) bench --bench alloc
	$(CARGO) bench --features bench --bench codec
	$(CARGO) bench --features bench --bench scripts
