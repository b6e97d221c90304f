# Two set-up-and-go targets: `make demo` and `make test`. Each creates .venv and installs what it needs, nothing else.
# spinning OpenMP threads cost a factor of five on busy cores (docs/explanation/dependencies.md)
export OMP_WAIT_POLICY ?= PASSIVE
# OpenBLAS spins whatever the above says
export OPENBLAS_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := .venv/.installed

.PHONY: demo test check integration bench results format clean

demo: $(STAMP)
	$(BIN)/tapetum demo --out demo

# the snippets of the documentation run in `make check`
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/pipeline/test_docs_snippets.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 tests/pipeline/test_docs_snippets.py

integration: .venv/.integration
	TAPETUM_PEERS=$(CURDIR)/.venv/peers $(BIN)/python -m pytest tests/integration

# foreign architectures and scores that ours are compared with: apart, since whoever sees torchvision imports it
PEERS := torchvision==0.28.0 timm==1.0.31 open_clip_torch==3.3.0 ftfy==6.3.1 wcwidth==0.9.4 pytorch-ood==0.4.0 netcal==1.4.0 pyro-ppl==1.9.2 pyro-api==0.1.2 opt_einsum==3.4.0

# heavy peers by pip; a real PACS and its judges by apt where this is Debian and root, else those tests say that they skip
.venv/.integration: $(STAMP)
	$(PIP) install -q -c constraints.txt -e '.[dev,integration]'
	$(PIP) install -q -c constraints.txt --no-deps rapidocr-onnxruntime
	sh tests/integration/install_servers.sh
	-$(PIP) install -q --no-deps --target .venv/peers --upgrade $(PEERS)
	touch $@

bench: $(STAMP)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# the tables of docs/reference/results.md, from real images (TAPETUM_DATA)
results: $(STAMP)
	$(BIN)/python recipes/run.py

format: $(STAMP)
	$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

clean:
	rm -rf demo .pytest_cache .ruff_cache

# torch first and pinned: whatever wants torchvision otherwise swaps it for several GB of CUDA
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	$(PIP) install -q -c constraints.txt --no-deps oct-converter
	touch $@
