# Metrion: install, run, test. `make` alone lists the targets.
SHELL := /bin/sh
PYTHON ?= python3
PYTEST_WORKERS ?= 2
# Integration tests spend half of their time waiting for servers.
PARTS_WORKERS ?= 3
# Idle workers take tests from the busiest one, so that a long file does not delay the end.
SHARED_OUT := --dist worksteal
# Integration tests first, file by file: the unit tests' short files then keep all workers busy to the end.
INTEGRATION_FIRST := --dist loadfile --no-loadscope-reorder tests/integration tests/unit
# Keep bytecode: otherwise every pytest worker rewrites the assertions of all modules in every run.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
# Client libraries and mock providers whose pins conflict with ours, and node with its npm packages.
CLIENTS := .venv-clients
NPM := tests/clients/npm
# Environment of `make deploy-check`: test dependencies plus linters for chart, image and compose.
DEPLOY := .venv-deploy

# Each stamp is named after the checksum of its locks: nothing is installed or downloaded until a lock changes.
RUN_STAMP := $(VENV)/.run-$(shell cat requirements/run.txt requirements/local.txt | cksum | cut -d' ' -f1)
TEST_STAMP := $(VENV)/.test-$(shell cat requirements/test.txt requirements/local.txt | cksum | cut -d' ' -f1)
CLIENTS_STAMP := $(CLIENTS)/.clients-$(shell cksum < requirements/clients.txt | cut -d' ' -f1)
NPM_STAMP := $(NPM)/node_modules/.npm-$(shell cat requirements/clients.txt $(NPM)/package-lock.json | cksum | cut -d' ' -f1)
DEPLOY_NPM := tests/deploy/npm
DEPLOY_NPM_STAMP := $(DEPLOY_NPM)/node_modules/.npm-$(shell cat requirements/deploy.txt $(DEPLOY_NPM)/package-lock.json | cksum | cut -d' ' -f1)
DEPLOY_STAMP := $(DEPLOY)/.deploy-$(shell cat requirements/deploy.txt requirements/local.txt | cksum | cut -d' ' -f1)
PIP := python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
INSTALL := $(BIN)/$(PIP)
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-header --no-annotate

# The newest version of each package, within the limit that `newest` in package.json may set.
NPM_NEWEST := Object.keys(p.dependencies).map(name => name + "@" + (p.newest?.[name] ?? "latest")).join(" ")
NPM_LOCK := export PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" && npm install --package-lock-only --ignore-scripts --no-audit --no-fund \
	--save-exact --omit-lockfile-registry-resolved $$(node -p 'const p = require("./package.json"); $(NPM_NEWEST)')

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
IMAGE ?= metrion:$(VERSION)
BUILDER ?= $(shell for tool in docker podman buildah; do $$tool info > /dev/null 2>&1 && echo $$tool && break; done)
# Registry for releases, such as ghcr.io/owner, and platforms to build for.
REGISTRY ?=
PLATFORMS ?= linux/amd64,linux/arm64
HELM ?= helm
# Additional build arguments, such as --build-arg BASE=…, --secret id=pip_conf,src=…, --secret id=ca,src=…
BUILD_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run demo install check test test-parts test-all coverage test-browser screenshots test-containers lint format readme lock bench bench-fleet \
	bench-peers bench-streams bench-steady bench-hostile bench-websockets bench-analytics bench-dashboard bench-api users image image-push chart chart-push kube deploy-check image-check clean

help:
	@sed -n -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: $(RUN_STAMP) ## start Metrion on this machine; Ctrl-C stops it
	@exec $(BIN)/python -m deploy.local

demo: $(RUN_STAMP) ## try it without a provider key; ARGS="--history 30d --keep" fills a month and keeps running
	@exec $(BIN)/python -m deploy.demo $(ARGS)

install: $(RUN_STAMP) ## install the dependencies of `make run` and the command .venv/bin/metrion

check: lint ## lint and unit tests: about a minute
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(SHARED_OUT) tests/unit

# Side by side: mypy keeps one core only, for as long as a quarter of the tests takes on both.
test: $(TEST_STAMP) ## lint, and unit and integration tests against real servers
	@$(MAKE) --no-print-directory -j 2 lint test-parts

test-parts: $(TEST_STAMP)
	$(BIN)/python -m pytest -n $(PARTS_WORKERS) $(INTEGRATION_FIRST)

coverage: $(TEST_STAMP) ## report line coverage of the unit and integration tests
	$(BIN)/python -m pytest -n $(PARTS_WORKERS) $(INTEGRATION_FIRST) --cov --cov-report=term:skip-covered

test-all: ## all tests: also the whole system, third-party clients, the dashboard in Chromium, deployment, fleets
	@$(MAKE) --no-print-directory -j 2 $(TEST_STAMP) $(CLIENTS_STAMP) $(NPM_STAMP) $(DEPLOY_STAMP) $(DEPLOY_NPM_STAMP)
	@$(MAKE) --no-print-directory test test-browser deploy-check
	$(BIN)/python -m pytest -n $(PARTS_WORKERS) --dist loadfile tests/e2e tests/clients tests/fleet

test-browser: $(TEST_STAMP) ## test the dashboard in Chromium, which must be on the PATH
	@$(BIN)/python -m tests.support.chromium
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist load tests/browser

screenshots: $(TEST_STAMP) ## retake docs/screens/*.png from the demo's month; needs Chromium
	$(BIN)/python -m tests.browser.screenshots

test-containers: lint ## run all tests against the official NATS and ClickHouse images; needs Docker
	$(BIN)/python -m tests.support.containers
	METRION_TEST_SERVERS=containers $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile tests/unit tests/integration tests/e2e

lint: $(TEST_STAMP) ## check style and types with ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

format: $(TEST_STAMP) ## format the source
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-fleet: $(TEST_STAMP) ## benchmark one gateway on one core, two on two, and so on
	$(BIN)/python -m tests.bench.fleet $(ARGS)

bench: $(TEST_STAMP) ## benchmark the gateway's overhead per request
	$(BIN)/python -m tests.bench

bench-peers: $(TEST_STAMP) ## benchmark the gateway beside other proxies and gateways, installed into .bench; ARGS="--only nginx"
	$(BIN)/python -m tests.bench.side_by_side $(ARGS)

bench-streams: $(TEST_STAMP) ## benchmark 512 slow streams at once; ARGS="--streams 1024"
	$(BIN)/python -m tests.bench.streams $(ARGS)

bench-steady: $(TEST_STAMP) ## watch the gateway's memory and garbage at full load; MINUTES=30 for longer
	$(BIN)/python -m tests.bench.steady $(if $(MINUTES),--minutes $(MINUTES))

bench-hostile: $(TEST_STAMP) ## benchmark the most expensive single requests; ARGS="--only form"
	$(BIN)/python -m tests.bench.hostile $(ARGS)

bench-websockets: $(TEST_STAMP) ## benchmark a thousand idle WebSocket connections
	$(BIN)/python -m tests.bench.websockets $(ARGS)

bench-analytics: $(TEST_STAMP) ## benchmark ClickHouse with a month of requests; ROWS=10000000 for more
	$(BIN)/python -m tests.bench.analytics $(if $(ROWS),--rows $(ROWS))

bench-dashboard: $(TEST_STAMP) ## benchmark the dashboard's pages over a month of requests; ROWS=10000000 for more
	$(BIN)/python -m tests.bench.dashboard $(if $(ROWS),--rows $(ROWS))

bench-api: $(TEST_STAMP) ## benchmark the JSON API over a month of requests; ROWS=10000000 for more
	$(BIN)/python -m tests.bench.api $(if $(ROWS),--rows $(ROWS))

readme: $(RUN_STAMP) ## regenerate tables of settings and metrics in docs, compose and chart, and the pages of coding agents
	$(BIN)/python -m deploy.settings_table
	$(BIN)/python -m deploy.agent_pages
	$(BIN)/python -m deploy.metrics_table
	$(BIN)/python -m deploy.compose.settings
	$(BIN)/python -m deploy.charts.settings

lock: $(TEST_STAMP) $(CLIENTS_STAMP) ## update all dependencies and pin them with hashes in requirements/*.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	cd requirements && ../$(COMPILE) run.in -o run.txt
	cd requirements && ../$(COMPILE) --constraint run.txt test.in -o test.txt
	cd requirements && ../$(COMPILE) --no-deps local.in -o local.txt
	cd requirements && ../$(COMPILE) clients.in -o clients.txt
	cd requirements && ../$(COMPILE) --constraint test.txt deploy.in -o deploy.txt
	cd $(NPM) && $(NPM_LOCK)
	cd $(DEPLOY_NPM) && $(NPM_LOCK) --legacy-peer-deps

users: $(RUN_STAMP) ## regenerate the NATS and ClickHouse configurations from deploy/users
	$(BIN)/python -m deploy.users

deploy-check: $(DEPLOY_STAMP) $(DEPLOY_NPM_STAMP) ## check chart, Dockerfile, compose, users and alerts; needs promtool
	@command -v promtool > /dev/null || { echo "promtool is required: apt-get install prometheus" >&2; exit 1; }
	$(DEPLOY)/bin/hadolint deploy/docker/Dockerfile
	$(DEPLOY)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile tests/deploy

image: ## build the container image, metrion:<version>, with docker, podman or buildah
	$(if $(BUILDER),,$(error docker, podman or buildah is required))
	$(BUILDER) build --label org.opencontainers.image.version=$(VERSION) \
		--label org.opencontainers.image.revision=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) $(BUILD_ARGS) \
		-t $(IMAGE) -f deploy/docker/Dockerfile .

image-push: ## build for all platforms and push to REGISTRY, with provenance and SBOM; needs docker buildx
	@test -n "$(REGISTRY)" || { echo "REGISTRY is not set, for example REGISTRY=ghcr.io/owner" >&2; exit 1; }
	docker buildx build --platform $(PLATFORMS) --provenance=mode=max --sbom=true --push --metadata-file image.json \
		--label org.opencontainers.image.version=$(VERSION) --label org.opencontainers.image.revision=$$(git rev-parse HEAD) \
		$(BUILD_ARGS) -t $(REGISTRY)/metrion:$(VERSION) -f deploy/docker/Dockerfile .

chart: ## package the chart into dist/; needs Helm
	$(HELM) package deploy/charts/metrion --destination dist --version $(VERSION) --app-version $(VERSION)

chart-push: chart ## push the packaged chart to oci://REGISTRY/charts
	@test -n "$(REGISTRY)" || { echo "REGISTRY is not set, for example REGISTRY=ghcr.io/owner" >&2; exit 1; }
	$(HELM) push dist/metrion-$(VERSION).tgz oci://$(REGISTRY)/charts

kube: image ## install a minimal setup into kubectl's cluster (kind, k3d, k3s, minikube); needs kubectl and Helm
	IMAGE="$(IMAGE)" BUILDER="$(BUILDER)" deploy/kube.sh

image-check: $(DEPLOY_STAMP) ## build the image and test it with compose under podman; needs root, buildah, podman, debootstrap
	BUILD_ARGS="$(BUILD_ARGS)" tests/image/build.sh
	$(DEPLOY)/bin/python -m pytest tests/image

clean: ## remove environments and caches; the data in .metrion stays
	rm -rf dist image.json .tools .bench $(VENV) $(CLIENTS) $(DEPLOY) $(NPM)/node_modules $(DEPLOY_NPM)/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(RUN_STAMP): $(BIN)/metrion
	@echo "installing (once): requirements/run.txt, requirements/local.txt"
	@$(INSTALL) -r requirements/run.txt
	@$(INSTALL) -r requirements/local.txt
	@touch $@

$(TEST_STAMP): $(RUN_STAMP)
	@echo "installing (once): requirements/test.txt"
	@$(INSTALL) -r requirements/test.txt
	@touch $@

$(CLIENTS_STAMP):
	@echo "installing (once): requirements/clients.txt"
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/$(PIP) -r requirements/clients.txt
	@touch $@

$(DEPLOY_STAMP):
	@echo "installing (once): requirements/deploy.txt"
	@$(PYTHON) -m venv $(DEPLOY)
	@$(DEPLOY)/bin/$(PIP) -r requirements/deploy.txt
	@$(DEPLOY)/bin/$(PIP) -r requirements/local.txt
	@touch $@

$(DEPLOY_NPM_STAMP): $(DEPLOY_STAMP)
	@echo "installing (once): $(DEPLOY_NPM)/package-lock.json"
	@cd $(DEPLOY_NPM) && PATH="$(CURDIR)/$(DEPLOY)/bin:$$PATH" npm ci --silent --legacy-peer-deps --ignore-scripts --no-audit --no-fund
	@touch $@

$(NPM_STAMP): $(CLIENTS_STAMP)
	@echo "installing (once): $(NPM)/package-lock.json"
	@cd $(NPM) && PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

# The command line is a module of this checkout; the script only starts it.
$(BIN)/metrion:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)
	@printf '%s\n' '#!/bin/sh' 'here=$$(dirname -- "$$(readlink -f -- "$$0")")' \
		'# Block interrupts until the command line can handle them: see services/cli/launch.py.' \
		'start="import _signal; _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGINT})' \
		'import sys; sys.path[0] = sys.argv.pop(1)' \
		'from services.cli.launch import main; main()"' \
		'exec "$$here/python" -S -c "$$start" "$$here/../.." "$$@"' > $@
	@chmod +x $@
