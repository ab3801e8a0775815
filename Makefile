# Everything a person types. Each target is one line of cargo; what it does stands in xtask/.
# Build products live outside the tree, so that a fresh clone on the same machine builds at once.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/silverback/target
XTASK := cargo xtask

.PHONY: help run build test torture check fmt bench conformance schemathesis h2spec cache-tests fuzz tidy generate clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="..." is handed on: make bench ARGS="one-route --rounds 7"'

run: ## build the gateway and start it, with an upstream of its own, from examples/kong.yml
	@$(XTASK) run $(ARGS)

build: ## the optimised binary
	cargo build --release --workspace --bin silverback
	@echo "built $(CARGO_TARGET_DIR)/release/silverback"

test: ## every test of the workspace
	cargo test --workspace $(ARGS)

torture: ## HTTP/1 in all its bad shapes, against the built program (a part of `make test`)
	cargo test -p e2e torture $(ARGS)

check: ## what CI checks beside the tests: format, clippy, the rules of ARCHITECTURE.md and STYLE.md
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@$(XTASK) tidy
	@$(XTASK) generate --check

fmt: ## format the code
	cargo fmt --all

tidy: ## only the rules on the code that are neither format nor clippy
	@$(XTASK) tidy

generate: ## write the files of the docs that come from the program
	@$(XTASK) generate

bench: ## CPU, latency and memory against nginx on this machine
	@$(XTASK) bench $(ARGS)

conformance: ## play the recorded cases of Kong against the gateway
	@$(XTASK) conformance $(ARGS)

schemathesis: ## ask the Admin API by its OpenAPI document: no answer may be a failure of the server
	@$(XTASK) schemathesis $(ARGS)

h2spec: ## the conformance tests of HTTP/2 against both kinds of listener (installs h2spec with go)
	@$(XTASK) h2spec $(ARGS)

cache-tests: ## proxy-cache against the tests of HTTP caches: make cache-tests ARGS="--suite ../cache-tests" (node)
	@$(XTASK) cache-tests $(ARGS)

fuzz: ## every parser under libFuzzer (installs cargo-fuzz), ten minutes each: make fuzz ARGS="chunked --seconds 60"
	@$(XTASK) fuzz $(ARGS)

clean: ## throw the build products away
	cargo clean
