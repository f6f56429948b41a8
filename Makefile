# Every entry point a person needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
CARGO ?= cargo
target := $(or $(CARGO_TARGET_DIR),target)
release := $(target)/release
debug := $(target)/debug
shim := containerd-shim-lacre-v1
programs := $(shim) lacre lacre-attestd lacre-policyd

.PHONY: help setup build release demo test ci test-vm test-kernel test-kernel-deb soak fuzz \
	check bench attacks kernel kernel-deb install uninstall clean

help: ## list the entry points
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what the build and the tests need (apt), and unpack the test daemons
	@integration/setup.sh

build: setup ## build everything, unoptimised
	@$(CARGO) build --workspace
	@integration/inner-shims.sh

release: setup ## build the programs as they are installed
	@$(CARGO) build --release $(foreach p,$(filter-out $(shim),$(programs)),--bin $(p))
	@# Twice for each container it is executed, and libraries are half of what that costs. Nor are
	@# they looked for where the daemon's LD_LIBRARY_PATH says, whose empty end is the bundle.
	@$(CARGO) rustc --release -p $(shim) --bin $(shim) -- -C target-feature=+crt-static

demo: release ## see it at work: a private containerd, four containers, a table
	@$(CARGO) build --release -p lacre-integration --bin lacre-demo
	@LACRE_BIN_DIR=$(abspath $(release)) $(release)/lacre-demo

test: build ## every test, end-to-end ones included
	@integration/test.sh

ci: ## check and test as CI does: as on a Debian 12 that has nothing else (as root)
	@.ci/run

test-vm: build ## the tests in virtual machines, on each of the three kernels (or FLAVOUR=debug)
	@integration/vm/test.sh

soak: build ## what takes longer, by PART (without: the list), each with a page in target/soak
	@integration/soak.sh $(PART)

fuzz: setup ## fuzz each parser of outside bytes for FUZZ_SECONDS (60)
	@integration/fuzz.sh

check: setup ## format, lints, circles of imports, documents, programs, licences and advisories, rustdoc
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@integration/inner-shims.sh check
	@$(CARGO) test -q -p lacre-integration --test import_circles --test document_paths
	@integration/programs.sh
	@integration/licences.sh
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

bench: release ## measure against plain runc, and write docs/benchmarks.md
	@$(CARGO) build --release -p lacre-integration --bin lacre-bench
	@LACRE_BIN_DIR=$(abspath $(release)) $(release)/lacre-bench docs/benchmarks.md

attacks: build ## run the attack suite, and write docs/attacks.md
	@LACRE_BIN_DIR=$(abspath $(debug)) LACRE_ATTACKS_OUT=docs/attacks.md \
		$(CARGO) test -p lacre-integration --test attacks -- --test-threads=1 --nocapture

kernel: ## build the guest kernel with container-IMA (FLAVOUR=base, debug, bpf or uml)
	@kernel/build.sh $(or $(FLAVOUR),base) image

kernel-deb: ## the same as packages (FLAVOUR=debian: for a real machine; LSMOD=FILE, or takes hours)
	@kernel/build.sh $(or $(FLAVOUR),base) deb

test-kernel: ## build it, boot it under QEMU with a TPM, and run its self-test
	@kernel/test.sh $(or $(FLAVOUR),base)

test-kernel-deb: ## install the package in a Debian, boot that, test it, purge it (as root)
	@kernel/deb/test.sh

install: release ## install the programs, and examples of their files
	@install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/lacre
	@install -m 0755 $(foreach p,$(programs),$(release)/$(p)) $(DESTDIR)$(PREFIX)/bin/
	@for f in config policy; do \
		[ -e $(DESTDIR)/etc/lacre/$$f.yaml ] || install -m 0644 deploy/$$f.yaml $(DESTDIR)/etc/lacre/; done
	@echo "installed in $(DESTDIR)$(PREFIX)/bin; next: deploy/README.md"

uninstall: ## remove the programs; /etc/lacre and /var/lib/lacre stay
	@rm -f $(foreach p,$(programs),$(DESTDIR)$(PREFIX)/bin/$(p))
	@echo "removed; /etc/lacre, /var/lib/lacre and /var/log/lacre are left as they are"

clean: ## remove what was built
	@$(CARGO) clean
