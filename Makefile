# `make demo` shows what kiln does; `make test` proves it. Both install what they need from Debian's packages.
.PHONY: help demo test check fuzz bench bench-frontend build setup-demo setup-test setup-bench

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

TARGET  := $(or $(CARGO_TARGET_DIR),target)/$(shell rustc --version --verbose | sed -n 's/^host: //p')
RELEASE := $(TARGET)/release/kiln
DEBUG   := $(TARGET)/debug/kiln
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## the release binary: static, in target/*/release/kiln
	cargo build --release --package kiln-cli

demo: setup-demo build ## base image, build, export and run, without any registry
	examples/demo.sh $(RELEASE) target/demo

check: ## formatting, lints, documentation, the shape of the code
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	cargo test --package kiln-tests --test tidy --locked --quiet

# A skip of a test is a failure here: everything that tests need is installed.
test: setup-test ## all tests, with the tools that read images
	cargo build --package kiln-cli --locked
	KILN_BIN=$(DEBUG) KILN_TESTS_REQUIRE_ALL=1 cargo nextest run --workspace --locked --no-fail-fast

# `make test` runs the same for five seconds each.
fuzz: ## whatever reads what strangers wrote, with inputs that nobody would write; SECONDS_EACH=60
	KILN_FUZZ_SECONDS=$(or $(SECONDS_EACH),60) cargo test --package kiln-fuzz --locked

bench-frontend: ## how long Dockerfiles and ignore files take to understand, beside what they may
	cargo bench --package kiln-frontend --bench frontend --locked

bench: setup-bench build ## the benchmark; ARGS="w1 w2 --runs 5" chooses
	bench/bench.py --kiln $(RELEASE) $(ARGS)

# Packages are asked for only when a command is missing, after one update of the package lists.
define install
	missing=(); for pair in $(1); do \
	  command -v "$${pair%%:*}" >/dev/null || PATH=$$PATH:/usr/sbin:/sbin command -v "$${pair%%:*}" >/dev/null \
	    || missing+=("$${pair##*:}"); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq update; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$${missing[@]}" </dev/null; \
	fi
endef

BUILD_TOOLS := cc:gcc make:make pkg-config:pkg-config
DEMO_TOOLS  := $(BUILD_TOOLS) busybox:busybox-static newuidmap:uidmap
TEST_TOOLS  := $(DEMO_TOOLS) skopeo:skopeo umoci:umoci podman:podman crun:crun runc:runc docker-registry:docker-registry \
	mmdebstrap:mmdebstrap git:git python3:python3 strace:strace dockerd:docker.io setpriv:util-linux pgrep:procps pasta:passt \
	ip:iproute2 nft:nftables tmux:tmux chromium:chromium buildah:buildah qemu-aarch64-static:qemu-user-static

setup-demo:
	@$(call install,$(DEMO_TOOLS))
	@file -L /bin/busybox 2>/dev/null | grep -q 'dynamically linked' \
	  && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y busybox-static </dev/null || true

setup-test: setup-demo
	@$(call install,$(TEST_TOOLS))
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
	@id kiln-test >/dev/null 2>&1 || $(SUDO) useradd --create-home --shell /bin/bash kiln-test
	@[ ! -c /dev/net/tun ] || $(SUDO) chmod 0666 /dev/net/tun # as udev has it: pasta opens it as an ordinary user
	@id kiln-single >/dev/null 2>&1 || $(SUDO) useradd --create-home --shell /bin/bash \
	  --key SUB_UID_COUNT=0 --key SUB_GID_COUNT=0 kiln-single
	@grep -q '^kiln-test:' /etc/subuid || $(SUDO) usermod --add-subuids 1000000-1065535 kiln-test
	@grep -q '^kiln-test:' /etc/subgid || $(SUDO) usermod --add-subgids 1000000-1065535 kiln-test

setup-bench: setup-demo
	@$(call install,buildah:buildah crun:crun docker-registry:docker-registry mmdebstrap:mmdebstrap python3:python3)
