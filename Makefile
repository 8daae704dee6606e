.PHONY: help setup run test check bench drill-failover drill-kills nightly clean
help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile
setup: ## install what the product needs into .venv, and make fonts and icons
	@bin/setup run
run: setup ## start everything with sample data; prints addresses and sign-ins
	@exec .venv/bin/armonika serve --sample
test: ## run every test, real browser and real servers included
	@bin/apt-tools
	@bin/setup dev
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
check: ## format, lint, types, import contracts, translations, docs
	@bin/setup dev
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports --no-cache && .venv/bin/armonika policy check
bench: ## measure, as ratios in one run
	@bin/setup dev
	@.venv/bin/python -m bench && .venv/bin/python -m bench.keys
drill-failover: ## lose the primary of two PostgreSQL servers under load
	@bin/apt-tools
	@bin/setup dev
	@.venv/bin/python -m drills.failover
drill-kills: ## 200 times kill -9 of processes and database under load
	@bin/setup dev
	@.venv/bin/python -m drills.kills
nightly: ## a million steps of the model, and more examples of every property
	@bin/setup dev
	@ARMONIKA_HYPOTHESIS=nightly ARMONIKA_MODEL_STEPS=1000000 .venv/bin/python -m pytest -n 2 tests/model tests/rules tests/audit tests/policy
clean: ## remove what was built; data in var/ stay
	@rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache
