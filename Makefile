SHELL := bash
.DEFAULT_GOAL := help

MODULE := github.com/buildtoken/buildtoken
TOOL := go tool -modfile=tools/go.mod
LINT := $(TOOL) golangci-lint
NPM := testdata/clients/npm
FOLDERS := buildtoken caddy-module cmd internal

FUZZTIME ?= 30s
SEEDS ?= 200
TORTURE_TIME ?= 60s
TRIGGERS ?= 2000
POOLER ?=
SCREENSHOTS ?=
BENCH ?= .
COUNT ?= 6
PACKAGE ?= ./buildtoken/queue
N ?= 100
SEED ?= 0
TESTS ?=
OUT ?= bin/bench.txt
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/caddy
	go build -trimpath -o bin/caddy ./cmd/caddy

.PHONY: run
run: ## run the example Caddyfile
	go run ./cmd/caddy run --config Caddyfile.example

.PHONY: check
check: fmt-check tidy vet lint test ## everything that must pass before a commit

.PHONY: fmt
fmt: ## format the code (gofumpt, goimports)
	$(LINT) fmt

.PHONY: fmt-check
fmt-check: ## show what fmt would change
	$(LINT) fmt --diff

.PHONY: tidy
tidy: ## show what go mod tidy would change
	go mod tidy -diff
	cd tools && go mod tidy -diff
	cd testdata/operating && go mod tidy -diff

.PHONY: vet
vet: ## go vet
	go vet ./...
	go vet -C tools ./...
	go vet -C testdata/operating ./...

.PHONY: lint
lint: ## check the house rules (.golangci.yml), and that all planted bugs still apply
	$(LINT) run ./...
	testdata/mutants/run -n

# Tests that need a PostgreSQL server or PgBouncer are skipped where it is not installed. go test does
# not show that, so they add their names to a file, which is reported at the end.
.PHONY: test
test: ## run all tests with the race detector; some start a PostgreSQL server
	go test -C tools ./...
	go test -C testdata/operating ./...
	@skips=$$(mktemp); trap 'rm -f "$$skips"' EXIT; status=0; \
	echo "go test -race ./..."; \
	BUILDTOKEN_TEST_SKIPS=$$skips go test -race ./... || status=$$?; \
	if [ -s "$$skips" ]; then \
		echo "SKIPPED: $$(sort -u "$$skips" | wc -l) tests need what is not installed. To run them (Debian):" \
			"apt-get install $$(cut -d' ' -f1 "$$skips" | sort -u | xargs)"; \
	fi; exit $$status

# Only some packages accept -update: those that define it in a test, and those whose tests import a
# suite that defines it.
.PHONY: golden
golden: ## update the expected results in testdata; then read git diff
	@set -eu; \
	tests=$$(for file in $$(grep -rlE --include='*.go' 'flag\.Bool(Var)?\(.*"update"' $(FOLDERS)); do \
		case $$file in \
		*_test.go) echo "$$file" ;; \
		*) grep -rlF --include='*_test.go' "\"$(MODULE)/$$(dirname "$$file")\"" $(FOLDERS) ;; \
		esac; \
	done); \
	packages=$$(for file in $$tests; do echo "./$$(dirname "$$file")"; done | sort -u); \
	test -n "$$packages" || { echo "no test has an -update flag" >&2; exit 1; }; \
	go test -count=1 $$packages -update
	git status --short -- '*testdata*'

.PHONY: sim
sim: ## simulate the whole system in fake time; SEEDS=200
	go test ./buildtoken -run TestSim -count=1 -seeds $(SEEDS)

.PHONY: torture
torture: build ## kill the server at random and check what is lost; TORTURE_TIME=60s
	go run ./cmd/torture -binary bin/caddy -for $(TORTURE_TIME)

.PHONY: torture-cluster
torture-cluster: build ## do the same with three servers on one Postgres, which is killed too; POOLER=yes goes through PgBouncer
	go run ./cmd/torture -binary bin/caddy -servers 3 -for $(TORTURE_TIME) $(if $(POOLER),-pooler)

.PHONY: torture-setback
torture-setback: build ## replace the database of three servers by earlier states of itself while they run
	go run ./cmd/torture -binary bin/caddy -servers 3 -setback -for $(TORTURE_TIME)

.PHONY: torture-rolling
torture-rolling: build ## restart three servers behind HAProxy, one after the other, during TRIGGERS=2000
	go run ./cmd/torture -binary bin/caddy -servers 3 -rolling $(TRIGGERS)

.PHONY: torture-relay
torture-relay: build ## do the same with builds that are relayed to a Jenkins
	go run ./cmd/torture -binary bin/caddy -relay -for $(TORTURE_TIME)

.PHONY: torture-notify
torture-notify: build $(NPM)/node_modules ## do the same while a receiver of notifications fails, on one server and on three; needs node and npm
	go run ./cmd/torture -binary bin/caddy -notify -reference $(NPM)/verify.mjs -for $(TORTURE_TIME)
	go run ./cmd/torture -binary bin/caddy -notify -reference $(NPM)/verify.mjs -servers 3 -for $(TORTURE_TIME)

# The packages of npm, among them the reference library of Standard Webhooks.
$(NPM)/node_modules: $(NPM)/package-lock.json
	npm --prefix $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: mutants
mutants: ## plant bugs in a copy and check that the tests notice; MUTANTS="name …"
	testdata/mutants/run $(MUTANTS)

.PHONY: mutate
mutate: ## change PACKAGE=./buildtoken/queue at random and report what its tests miss; N=100 SEED=0 TESTS=./buildtoken/queue
	go run -C tools ./mutate -n $(N) -seed $(SEED) $(if $(TESTS),-tests $(TESTS)) $(PACKAGE)

.PHONY: browser
browser: build ## test the pages in Chromium; SCREENSHOTS=docs/images updates the screenshots
	testdata/browser/run bin/caddy $(SCREENSHOTS)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME=30s, one after another, in random order
	@set -euo pipefail; \
	packages=$$(grep -rl --include='*_test.go' '^func Fuzz' $(FOLDERS) | xargs -n 1 dirname | sort -u | sort -R); \
	for package in $$packages; do \
		targets=$$(go test -list '^Fuzz' "./$$package" | sed -n '/^Fuzz/p'); \
		for target in $$targets; do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "./$$package"; \
		done; \
	done

.PHONY: bench
bench: ## write benchmarks to OUT=bin/bench.txt; BENCH=. COUNT=6
	@mkdir -p $(dir $(OUT))
	set -o pipefail; go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./... | tee $(OUT)

.PHONY: benchstat
benchstat: ## compare OLD=… with OUT=bin/bench.txt
	$(TOOL) benchstat $(OLD) $(OUT)

.PHONY: cross
cross: ## build for PLATFORMS without cgo, and vet for those with amd64
	@set -eu; for platform in $(PLATFORMS); do \
		echo "$$platform"; \
		export CGO_ENABLED=0 GOOS="$${platform%/*}" GOARCH="$${platform#*/}"; \
		go build ./...; \
		test "$$GOARCH" != amd64 || go vet ./...; \
	done

.PHONY: typecheck
typecheck: ## check the types for PLATFORMS, without compiling: seconds, where cross takes minutes
	go run -C tools ./typecheck $(PLATFORMS)

# xcaddy requests the replaced path from the module proxy too. If a proxy answers with 403 instead of
# 404, go gives up. After a |, go accepts any error and continues.
.PHONY: xcaddy
xcaddy: ## build bin/caddy-xcaddy as a user would, from this tree
	GOPROXY="$$(go env GOPROXY | cut -d, -f1 | cut -d'|' -f1)|off" $(TOOL) xcaddy build \
		"$$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)" \
		--with $(MODULE)/caddy-module --replace $(MODULE)=. --output bin/caddy-xcaddy
	bin/caddy-xcaddy list-modules | grep -x http.handlers.build_token
