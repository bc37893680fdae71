# make demo    train the Iris example and show its report
# make test    every test, real parts included, the race detector too; sets up what they need
# make race    every test with the race detector, which takes most of an hour
# make test-fast    the tests that need nothing but Go, git and Python, in a minute
# make bench   the figures of docs/performance.md
# make picture  the report in the README, docs/report.png
# make lint    gofmt, go vet, staticcheck, unparam
# make image   the action's container image
# make fuzz    every fuzz target, FUZZTIME each
# make differential    every answer of random repositories against git, and of random calls
#              against MLflow, until stopped

CACHE := $(CURDIR)/.cache
VENV  := $(CACHE)/venv
NODE  := $(CACHE)/node
LAYOUTS := $(CACHE)/layouts
PLUGIN := $(CACHE)/azureml-mlflow
# The race detector needs a C compiler. It leaves out SQLite itself, which is C put into Go: it
# would find nothing in memory that no Go code reaches, and take most of the time.
RACE  := $(shell command -v cc >/dev/null 2>&1 && echo -race -gcflags=modernc.org/sqlite/lib=-race=false)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build demo test test-program test-git test-packages test-fast race bench lint image docker fuzz differential picture

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/aml-train .

picture: build
	docs/picture.sh

demo: build
	cd examples/iris && ../../bin/aml-train run job.yml --markdown ../../bin/report.md
	@echo
	@echo "The report for a pull request is in bin/report.md. What else there is:"
	@echo "  bin/aml-train runs                 the run history"
	@echo "  bin/aml-train download             the newest run's outputs"
	@echo "  bin/aml-train ui                   the history in the page of the installed MLflow"

# The real parts that tests need, installed anew when their list changes. Without one, the
# tests that need it are skipped and named at the end; with CI=true they fail.
OPTIONAL := test "$$CI" != true

# Microsoft's plugin for MLflow wants an older MLflow. Layouts are what training repositories are
# laid out with: build backends, uv, Hydra, DVC, papermill. Garbage is not collected in these,
# which is a fifth of what importing MLflow takes.
$(VENV)/ready: .ci/requirements/tests.txt
$(PLUGIN)/ready: .ci/requirements/azureml-mlflow.txt
$(LAYOUTS)/ready: .ci/requirements/layouts.txt
$(VENV)/ready $(PLUGIN)/ready $(LAYOUTS)/ready:
	python3 -m venv $(@D) && $(@D)/bin/pip install --quiet --disable-pip-version-check -r $< && \
		echo 'import gc; gc.disable()' >$$(echo $(@D)/lib/python3*/site-packages)/no-gc.pth && touch $@ \
		|| { rm -rf $(@D); $(OPTIONAL); }

# GitHub's own descriptions of its APIs with the server that checks requests against
# one, Mermaid, managers of git hooks, and Microsoft's emulator of blob storage. Prism is of a
# release that runs on Debian 12's Node, and so are its parts, of which npm would take newer ones.
$(NODE)/ready: .ci/requirements/node.txt
	@mkdir -p $(NODE)
	npm install --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel=error $$(cat $<) && touch $@ \
		|| { rm -rf $(NODE); $(OPTIONAL); }

$(CACHE)/bin/act:
	GOBIN=$(CACHE)/bin go install github.com/nektos/act@v0.2.89 || $(OPTIONAL)

# A newer git than Debian's stable one has, beside the machine's own.
NEWER := $(CACHE)/newer-git/bin
$(NEWER)/git:
	@mkdir -p $(CACHE)
	.ci/newer-git || $(OPTIONAL)

# A Docker Engine and the test images.
docker:
	@.ci/docker || $(OPTIONAL)

# The Python that .ci/test gives to the tests.
PYTHON := $(CACHE)/python
$(PYTHON)/bin/python3:
	@python3 -m venv --without-pip --clear $(PYTHON)

# Where the tests find them.
PARTS := PATH="$(CACHE)/bin:$$PATH" AML_TRAIN_TEST_VENV=$(VENV) AML_TRAIN_TEST_NODE=$(NODE) AML_TRAIN_TEST_LAYOUTS=$(LAYOUTS) \
	AML_TRAIN_TEST_AZUREML_MLFLOW=$(PLUGIN) AML_TRAIN_TEST_SKIPPED=$(CACHE)/skipped

# Nothing from Go's cache: to know what a result depends on, it writes down every file and variable that
# a test looks at, a million in some packages, and looks at each again: a third of make test-fast.
TEST := go test -count 1

# Three parts at a time, as each waits a lot: for Docker and Python, for git, for servers. What
# is not raced is that which runs the program as a user does (the root package, but for the
# scripts that have it do several things at a time), for it takes ten times as long to start
# with the race detector; and the tests that do one thing after the other in one goroutine,
# or in another program, where the detector has nothing to see. What asks git about thousands
# of generated cases runs without it, and then a tenth of that with it. make race races all.
RACED := distributed|interrupt|partial|twice|workflow
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
UNRACED := $(subst $(SPACE),|,$(strip TestLookupsInALargeHistory TestWithMLflow TestMermaid TestPrism TestDamagedObjects \
	TestTreesOfTrees TestTooLargeObjects TestChain TestKey TestKeysInWords TestFlagsInWords \
	TestEnvironmentInWords TestScalarsAgainstAzure TestLimit TestFalseAlarms TestPower \
	TestAdded TestEveryRequestFailsOnce \
	TestLockedStorage TestAskInterleaved TestCheck TestEveryObject \
	TestEveryRequestOfALoading))
AGAINST_GIT := ./snapshot ./internal/git/...
OTHERS := $$(go list ./... | tail -n +2 | grep -v -e /snapshot -e internal/git)
NOT_RACED := $$(grep -rlE --include='*_test.go' '^func ($(UNRACED))\(' $$(go list -f '{{.Dir}}' $(OTHERS)) | xargs -n 1 dirname | sort -u)
test: $(PYTHON)/bin/python3 $(VENV)/ready $(NODE)/ready $(LAYOUTS)/ready $(PLUGIN)/ready $(CACHE)/bin/act $(NEWER)/git docker
	@rm -f $(CACHE)/skipped
	@$(MAKE) --no-print-directory -j3 test-program test-git test-packages
	@if [ -z "$(RACE)" ]; then echo "There is no C compiler, so nothing ran with the race detector."; fi
	@if [ -s $(CACHE)/skipped ]; then echo "Skipped, because they are not on this machine:"; sort -u $(CACHE)/skipped; fi

test-program:
	$(PARTS) .ci/test $(TEST) -timeout 30m -parallel 4 .

# And what of the program is raced, which is the third that has the least to do.
test-git:
	$(PARTS) .ci/test $(TEST) -timeout 30m $(AGAINST_GIT)
	@if [ -x $(NEWER)/git ]; then PATH="$(NEWER):$$PATH" .ci/test $(TEST) -short -run 'AgainstGit|TestDamage' ./snapshot ./internal/git; fi
	@if [ -n "$(RACE)" ]; then $(PARTS) .ci/test $(TEST) $(RACE) -short -skip '^($(UNRACED))$$' $(AGAINST_GIT); fi
	@if [ -n "$(RACE)" ]; then $(PARTS) .ci/test $(TEST) $(RACE) -short -run 'TestScripts$$/^($(RACED))$$' .; fi

test-packages:
	$(PARTS) .ci/test $(TEST) $(RACE) -timeout 30m -skip '^($(UNRACED))$$' $(OTHERS)
	$(PARTS) .ci/test $(TEST) -timeout 30m -run '^($(UNRACED))$$' $(NOT_RACED)

# Every test with the race detector, every start of the program included: most of an hour.
race: $(PYTHON)/bin/python3 $(VENV)/ready $(NODE)/ready $(LAYOUTS)/ready $(PLUGIN)/ready $(CACHE)/bin/act docker
	$(PARTS) .ci/test $(TEST) $(RACE) -timeout 90m ./...

# No containers, no network services, a tenth of the generated cases.
test-fast: $(PYTHON)/bin/python3
	.ci/test $(TEST) -short -p 3 -parallel 4 ./...

bench: build $(NODE)/ready $(VENV)/ready
	AML_TRAIN_TEST_NODE=$(NODE) AML_TRAIN_TEST_VENV=$(VENV) AML_TRAIN_BINARY=$(CURDIR)/bin/aml-train go test -run '^$$' -bench . -benchtime 3x -timeout 60m ./...

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	GOOS=windows go vet ./...
	GOOS=darwin go vet ./...
	go run $(STATICCHECK) ./...
	go run mvdan.cc/unparam@v0.0.0-20260823230713-2fa3d841b0c8 ./...
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck= -pyflakes= .github/workflows/*.yml examples/workflows/*.yml

image:
	docker build -t aml-train .

# FUZZTIME=1h make fuzz. Every target that there is, in whichever package.
FUZZTIME ?= 30s
fuzz:
	@grep -rHo --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | \
		while read -r package target; do echo "$$package $$target" && \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" || exit 1; done

# CASES=20000 SEED=7 make differential. Each round starts where the last one ended, and tries
# a thousandth as many sequences of calls against MLflow's own server;
# PATH=$PWD/.cache/newer-git/bin:$PATH compares with the newer git.
CASES ?= 10000
SEED  ?= 1000000
differential: $(PYTHON)/bin/python3 $(VENV)/ready
	@seed=$(SEED); while AML_TRAIN_CASES=$(CASES) AML_TRAIN_SEED=$$seed go test -run 'AgainstGit|TestDamage' -count 1 -timeout 0 -v ./snapshot ./internal/git && \
		$(PARTS) AML_TRAIN_CASES=$$(($(CASES) / 1000 + 1)) AML_TRAIN_SEED=$$seed .ci/test $(TEST) -run 'TestScriptsWithMLflow$$/^differential' -timeout 0 .; \
		do seed=$$((seed + $(CASES))); done
