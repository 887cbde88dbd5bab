# The two commands of a newcomer are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
NEXTEST_VERSION := 0.9.143
BIN := target/release/hooklatch
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# $(call need,COMMAND,PACKAGE): installs a Debian package where its command is missing.
define need
command -v $(1) >/dev/null || { echo "installing $(2) (for $(1))"; $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $(2) >/dev/null; }
endef

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: deps-build
deps-build:
	@$(call need,cc,build-essential)
	@$(call need,cmake,cmake)

.PHONY: deps-test
deps-test: deps-build
	@$(call need,systemd-analyze,systemd)
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest --version $(NEXTEST_VERSION)
	@tests/install.sh

.PHONY: build
build: deps-build ## the release binary, target/release/hooklatch
	@$(CARGO) build --release --locked

.PHONY: demo
demo: build ## a gateway, a sample app and signed events, all on this machine; Ctrl-C ends it
	@$(BIN) demo

.PHONY: run
run: build ## the gateway with conf/hooklatch.toml
	@$(BIN) run -c conf/hooklatch.toml

.PHONY: test
test: deps-test fmt-check clippy deny build ## everything that must hold: format, lints, tests, 20 kills of the release binary, doc tests
	@$(CARGO) nextest run --locked --no-fail-fast
	@HOOKLATCH_BIN=$(abspath $(BIN)) $(CARGO) nextest run --locked -E 'test(durability::kill::)'
	@$(CARGO) test --locked --doc

.PHONY: soak
soak: build deps-test ## what durability promises, at length: 200 kills of the release binary, each call's failure
	@HOOKLATCH_BIN=$(abspath $(BIN)) HOOKLATCH_KILLS=200 HOOKLATCH_SOAK=1 \
		$(CARGO) nextest run --locked --profile soak -E 'test(durability::) | test(disk::)'

# libFuzzer with the coverage that it goes by, on the usual toolchain; `cargo +nightly fuzz run record` adds a sanitizer.
FUZZ_SECONDS ?= 60
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
COVERAGE := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: fuzz
fuzz: deps-build ## any bytes as records of the spool, for FUZZ_SECONDS (60)
	@RUSTFLAGS="$(COVERAGE)" $(CARGO) build --locked --release --manifest-path fuzz/Cargo.toml --target $(HOST)
	@mkdir -p fuzz/corpus/record && cd fuzz && target/$(HOST)/release/record -max_total_time=$(FUZZ_SECONDS) corpus/record

.PHONY: fmt-check
fmt-check:
	@$(CARGO) fmt --check

.PHONY: clippy
clippy: deps-build
	@$(CARGO) clippy --locked --all-targets -- -D warnings

.PHONY: deny
deny: ## licences, banned versions, sources and, where the database can be had, advisories
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) deny --locked check bans licenses sources; \
		if $(CARGO) deny fetch >/dev/null 2>&1; then $(CARGO) deny --locked check advisories; else echo "deny: the advisory database cannot be fetched here; advisories were not checked"; fi; \
	else echo "deny: cargo-deny is not installed (cargo install --locked cargo-deny); not checked"; fi

.PHONY: providers-doc
providers-doc: deps-build ## writes docs/providers.md anew; a test holds it equal to what the program knows
	@$(CARGO) run --quiet --locked -- providers --markdown > docs/providers.md.new && mv docs/providers.md.new docs/providers.md

.PHONY: bench
bench: build ## the whole process against its references, one core each
	@benches/run.sh

.PHONY: scale
scale: deps-build ## starts, memory and refills beside a backlog of 10 GiB and 10 M events (long; 30 GB below target/)
	@$(CARGO) build --release --locked --example scale
	@target/release/examples/scale target/scale

.PHONY: timing
timing: deps-build ## whether the time of a refusal tells how much of a signature was right
	@$(CARGO) run --release --locked --example timing

.PHONY: install
install: build ## the binary to /usr/local/bin, the units to /etc/systemd/system, a configuration where there is none
	$(SUDO) install -m 0755 $(BIN) /usr/local/bin/hooklatch
	$(SUDO) install -D -m 0644 systemd/hooklatch.service /etc/systemd/system/hooklatch.service
	@test -e /etc/hooklatch/hooklatch.toml || $(SUDO) install -D -m 0644 conf/hooklatch.toml /etc/hooklatch/hooklatch.toml
