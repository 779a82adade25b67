# make demo      build, then compile and run a model end to end
# make test      build everything and run all tests
# make build     the command `apus` and the runtime library
# make bench     the benchmarks
# make figures   what compiling costs, in counts that do not depend on how busy the machine is; fails over the limits
# make verify    all tests with every function of the loop IR that they make read back from its text and JSON
# make fuzz SECONDS=600 SEED=1    every fuzzer for its share of the time
# make prove     prove every rewrite rule, with a report in .build/prove-report.txt
# make clean     remove what was built
# make format-check   lint the layout of the sources
# make bootstrap install what the build needs (LLVM, C compiler); the other goals do it themselves

SHELL := /bin/bash
CONFIG ?= release
SWIFT_FLAGS ?=
SECONDS ?= 600
SEED ?= 1
# Package.swift asks pkg-config for `apus-llvm`, which scripts/bootstrap writes here.
# See runtimeLinkerSettings in Package.swift.
export APUS_STANDALONE_RUNTIME := 1
export PKG_CONFIG_PATH := $(CURDIR)/.deps/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))

.PHONY: all bootstrap build test demo bench figures fuzz prove verify clean format-check

all: build

bootstrap:
	@scripts/bootstrap

build: bootstrap
	swift build -c $(CONFIG) $(SWIFT_FLAGS) --product apus
	swift build -c $(CONFIG) $(SWIFT_FLAGS) --product apus_runtime

# By name: `--build-tests` may also build the tools of packages that Apus only uses.
TESTED := apusPackageTests apus apus_runtime addone matmul script

test: bootstrap
	for product in $(TESTED); do swift build -c $(CONFIG) $(SWIFT_FLAGS) --product $$product || exit 1; done
	swift test -c $(CONFIG) $(SWIFT_FLAGS) --skip-build
	scripts/test-cli

verify: bootstrap
	swift build -c $(CONFIG) $(SWIFT_FLAGS) --product apusPackageTests
	APUS_VERIFY=3 swift test -c $(CONFIG) $(SWIFT_FLAGS) --skip-build --skip RuleProofTests

demo: build
	scripts/demo

bench: build
	@if [ -x scripts/bench ]; then scripts/bench; else echo "bench: scripts/bench is not there" >&2; exit 1; fi

prove: bootstrap
	APUS_ROOMS=Arith swift build -c $(CONFIG) $(SWIFT_FLAGS) --build-tests
	APUS_ROOMS=Arith APUS_PROVE_REPORT=$(CURDIR)/.build/prove-report.txt \
	    swift test -c $(CONFIG) $(SWIFT_FLAGS) --skip-build --filter RuleProofTests/report
	@tail -n 1 .build/prove-report.txt

format-check:
	swift format lint --recursive --parallel Package.swift Sources Tests Benchmarks/Sources Examples

figures:
	Benchmarks/compile_figures.sh

fuzz: bootstrap
	swift build -c $(CONFIG) $(SWIFT_FLAGS) --product apusPackageTests
	CONFIG=$(CONFIG) scripts/fuzz $(SECONDS) $(SEED)

clean:
	swift package clean
	rm -rf .deps
