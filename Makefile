# virsnap: the commands that matter. Times are for 2 cores, from nothing; the whole of `.ci/run`
# (lint and test) has 40 minutes.
#
#   build    once, dev profile, dependencies included          ~ 4 min
#   lint     clippy and doc check the same crates again        ~ 3 min
#   test     setup (apt, second QEMU, Linux guest)             ~ 1 min
#            unit, golden, property and crash tests            ~ 5 min
#            end to end on real QEMUs                          ~ 5 min
#            Xen host: built once (1 min) and booted (15 s) while cargo works
#            end to end on it                                  ~ 2 min
#   demo     after the build                                   < 1 min
#   oracle   after the build                                   ~ 6 min
#   bench    release build ~ 6 min, then                       ~ 3 min

.PHONY: demo test tests lint oracle bench guest
CARGO ?= cargo

# The main job on a real guest: take, list, revert and delete snapshots; leaves nothing behind.
demo:
	@sh dist/install-deps.sh
	@$(CARGO) build --quiet --locked --bins
	@bash examples/demo.sh

# Everything. Guests run under tcg: no KVM needed, and root only to build the Xen host (and for a few
# cases more). What cannot run here is said, by lines that begin with SKIP. With VIRSNAP_LIBVIRT_DBUS=DIR,
# a checkout of libvirt-dbus, that one's own test suite runs too.
test:
	@bash tests/setup.sh
	@bash tests/xen/rig/rig.sh with $(MAKE) --no-print-directory tests

# All tests, as far as their surroundings are there.
tests:
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --no-fail-fast && $(CARGO) test --locked --doc; \
	else \
		$(CARGO) test --locked --no-fail-fast; \
	fi
	@bash tests/libvirt-dbus/run.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

# Every recorded answer of libvirt, against this build; `make test` has a sample of them.
oracle:
	@bash tests/setup.sh
	@$(CARGO) build --quiet --locked --bins
	@bash tests/oracle/run.sh $${CARGO_TARGET_DIR:-target}/debug/virsnapd --shards 2

# Figures, as ratios within one run.
bench:
	@sh dist/install-deps.sh
	@bash tests/xen/rig/rig.sh with $(CARGO) bench --locked --bench ratios --bench xen

# Assemble the test guest; the result is kept in the tree for machines without binutils.
guest: tests/guest/counter.bin
tests/guest/counter.bin: tests/guest/counter.S
	as --32 -o $(@:.bin=.o) $<
	ld -m elf_i386 -Ttext 0x7c00 --oformat binary -e _start -o $@ $(@:.bin=.o)
	rm $(@:.bin=.o)
	chmod 644 $@
