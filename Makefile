# Two commands do everything: `make demo` and `make test`. `make check` is the quick inner loop.
.DEFAULT_GOAL := help
.PHONY: help demo demo-clean test check tools test-tools setup lock format

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

tools:
	scripts/install-tools

test-tools:
	scripts/install-tools tests

setup:
	scripts/setup

demo: tools setup ## the main job on the Debian line, with a local registry; installs what it needs
	scripts/demo

demo-clean: ## remove what the demo made
	scripts/local-registry stop .pipeline/demo/registry
	rm -rf demo .pipeline/demo

test: test-tools setup ## everything: lint, types, unit, integration and the real build; 30 to 55 minutes on two cores
	scripts/test

check: test-tools setup ## lint, types and unit tests; under two minutes
	.venv/bin/python -m pytest -q -n auto --dist worksteal tests/unit

format: setup ## format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: setup ## bring the locked dependencies up to date
	.venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --upgrade --output-file requirements/runtime.lock pyproject.toml
	.venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --upgrade --extra dev --all-build-deps --output-file requirements/dev.lock pyproject.toml
