# The commands of this repository. A machine with a Python (3.10 to 3.13), Rust and make needs nothing else.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Axolotl's runs: no hub, no telemetry, no threads that spin while they wait.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
export HF_DATASETS_OFFLINE := 1
export AXOLOTL_DO_NOT_TRACK := 1
export DO_NOT_TRACK := 1
export WANDB_MODE := disabled
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY := passive
# Small data is prepared in the process that needs it: starting a worker takes longer than the work.
export AXOLOTL_DATASET_NUM_PROC := 0
# Without its bytecode, which uv leaves to the first import, each start of Axolotl takes 20 s longer.
unexport PYTHONDONTWRITEBYTECODE
# Rust's Python feature is compiled for one interpreter, or every change of it would compile it again.
export PYO3_PYTHON := $(CURDIR)/.venv/bin/python

RUST := $(shell find hbo_sampler_rs/src -name '*.rs') hbo_sampler_rs/Cargo.toml Cargo.toml Cargo.lock
EXTENSION := hbo_plugin/_sampler.abi3.so
BIN := .venv/bin
COMPAT := .venv-compat/bin
DIST := .venv-dist/bin
# The wheel runs wherever glibc is 2.28 or newer (2018); zig has its symbols.
PORTABLE := $(if $(filter Linux,$(shell uname)),--zig --compatibility manylinux_2_28)
# Two files of tests at a time, as most of a run of Axolotl is a start on one core.
TESTS := -m pytest --numprocesses 2 --dist loadfile

.PHONY: help
help: ## List these commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: build
build: $(EXTENSION) ## Set up .venv with the newest Axolotl that runs here, and compile the extension into the checkout

.PHONY: test
test: lint check-rust check-python compat ## Prove everything: form, types, Rust, Python, the wheel, the other Axolotl

.PHONY: lint
lint: $(EXTENSION) ## Check form and types of the Python code, the extension's stub, and GitHub's workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file .ci/stubtest.ini hbo_plugin._sampler
	$(BIN)/jactionlint --no-online --strict-exit --shellcheck= --pyflakes=
	$(BIN)/zizmor --offline --pedantic --quiet .github

.PHONY: check-rust
check-rust: .venv/installed ## Check and test the Rust code, with and without its Python feature
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --features python -- -D warnings
	cargo test --quiet

.PHONY: check-python
check-python: $(EXTENSION) .venv-dist/installed ## Run the Python tests; PYTHON=3.10 sets the Python of a new .venv
	$(BIN)/python $(TESTS)

.PHONY: compat
compat: $(EXTENSION) .venv-dist/installed ## Run the Axolotl-facing tests on the other version of Axolotl
	@if .ci/python other >/dev/null; then \
		$(MAKE) --no-print-directory .venv-compat/installed; \
		$(COMPAT)/python $(TESTS) -m axolotl; \
	fi

.PHONY: soak
soak: $(EXTENSION) ## Kill real runs N times at random moments and resume them (N=200 takes half an hour); nothing may differ
	$(BIN)/python tests/helpers/soak.py --kills $(or $(N),3)

.PHONY: fuzz
fuzz: $(EXTENSION) ## Give Rust and Python random input for T seconds each (60 if unset); installs cargo-fuzz
	cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	cd hbo_sampler_rs && cargo fuzz run --sanitizer none anything -- \
		-max_total_time=$(or $(T),60) -timeout=5 -rss_limit_mb=1024
	until ((SECONDS >= $(or $(T),60))); do $(BIN)/python -m pytest -m hypothesis --hypothesis-profile random; done

.PHONY: demo
demo: $(EXTENSION) ## Fine-tune a real language model on a mixture that HBO balances: ten minutes on two cores
	$(BIN)/python axolotl_configs/quickstart_data.py
	@# A finished run is only shown: to resume it would load model and data for nothing.
	if [ -e demo/with_hbo/adapter_model.safetensors ]; then \
		$(BIN)/python -m hbo_plugin report demo/with_hbo; \
	else \
		$(BIN)/axolotl train axolotl_configs/quickstart.yml --launcher python; \
	fi
	@$(BIN)/python -m hbo_plugin report demo/with_hbo --html demo/report.html --json - >/dev/null
	@echo "All of this run, as a page for a browser: demo/report.html"

.PHONY: bench
bench: $(EXTENSION) ## Measure the sampler against named baselines
	$(BIN)/python -m hbo_plugin bench

.PHONY: gpu
gpu: $(EXTENSION) ## Try hbo on this machine's NVIDIA card: 20 minutes at most; writes gpu.json
	$(BIN)/python -m benchmarks gpu --json gpu.json

# The wheel is not built from the sdist (`maturin build --sdist`): its files are dated 2006, so cargo would take for new
# what it has compiled before.
.PHONY: dist
dist: .venv-dist/installed ## Build the wheel and the sdist of a release into dist/, and check them
	rm -rf dist
	$(DIST)/maturin sdist --out dist
	PATH="$(CURDIR)/$(DIST):$$PATH" $(DIST)/maturin build --locked --release $(PORTABLE) --out dist
	$(DIST)/twine check --strict dist/*
	$(if $(PORTABLE),$(DIST)/auditwheel show dist/*.whl | grep -E '"manylinux_2_(1[0-9]|2[0-8])_')

.PHONY: check-dist
check-dist: .venv-dist/installed ## Install the wheel of dist/ in a fresh environment, and draw the first rows of the stream
	$(DIST)/uv run --isolated --no-project --python $(DIST)/python --with pytest --with dist/*.whl -- \
		pytest -c /dev/null --noconftest --import-mode=importlib tests/stream/test_stream_golden.py

.PHONY: clean
clean: ## Remove all that these commands made, environments and demo included
	rm -rf .venv .venv-compat .venv-dist target hbo_sampler_rs/fuzz/*/ dist demo gpu.json $(EXTENSION) .hypothesis .*_cache
	find hbo_plugin benchmarks tests axolotl_configs -name __pycache__ -exec rm -rf {} +

# uv because it installs Axolotl's 270 packages seven times as fast as pip.
.venv/installed: pyproject.toml .ci/python
	test -x $(BIN)/uv || { "$$(.ci/python newest)" -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip install --python .venv -r pyproject.toml --extra axolotl --extra plot --group demo --group test --group lint
	touch $@

.venv-compat/installed: pyproject.toml .ci/python $(EXTENSION)
	test -x $(COMPAT)/python || "$$(.ci/python other)" -m venv .venv-compat
	$(BIN)/uv pip install --python .venv-compat -r pyproject.toml --extra axolotl --extra plot --group test
	VIRTUAL_ENV=$(CURDIR)/.venv-compat $(BIN)/maturin develop --release --uv
	touch $@

# Apart from Axolotl's packages, which a machine that only builds does not need.
.venv-dist/installed: pyproject.toml .ci/python
	test -x $(DIST)/uv || { "$$(.ci/python newest)" -m venv .venv-dist && $(DIST)/python -m pip install --quiet uv; }
	$(DIST)/uv pip install --python .venv-dist --group dist
	touch $@

$(EXTENSION): .venv/installed $(RUST)
	cargo fetch --locked # all of it, so that the tests can build a wheel without a network
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin develop --release --uv
	touch $@
