# The project's commands; `make` lists them.
#
# PYTHON      the interpreter of the environment (default: python3, if it is 3.10-3.13)
# PYTHON312   the interpreter of the second environment, with the newer ESPnet, for
#             the short tests (default: found if there; empty: leave them out)
# DEMO_OPTS   more options for the demo's run.sh, e.g. DEMO_OPTS="--stage 11"
# BENCH       groups of benchmarks, e.g. BENCH="masks contrastive" (default: all)
# WORKERS     test processes (2); 0: in pytest's own process
# TESTS       arguments for pytest, e.g. TESTS="tests/masking/test_guided.py -k exact"

PYTHON ?=
PYTHON312 ?= auto
DEMO_OPTS ?=
TESTS ?=
BENCH ?=
WORKERS ?= 2

VENV := .venv
FAIRSEQ := .cache/fairseq-0.12.2
RECIPE := egs2/asterisk/a2m1

.PHONY: help demo test bench lint env hooks clean distclean

help:
	@echo "make demo       all stages on real speech, up to a table of error rates"
	@echo "make test       lint, then the tests (PYTHON312= leaves out the second ESPnet)"
	@echo "make bench      speed and memory beside other implementations, half an hour"
	@echo "make lint       ruff, mypy, shellcheck"
	@echo "make env        only create the environment, $(VENV) (PYTHON=... chooses Python)"
	@echo "make hooks      run lint before every git commit"
	@echo "make clean      remove caches;  make distclean: environments too"

env:
	@tools/make_env.sh $(VENV) dev $(PYTHON)

demo: env
	@echo "Running $(RECIPE)/run.sh $(DEMO_OPTS)"
	@cd $(RECIPE) && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" ./run.sh $(DEMO_OPTS)

test:
	@VENV="$(VENV)" PYTHON="$(PYTHON)" PYTHON312="$(PYTHON312)" WORKERS="$(WORKERS)" \
		tools/test.sh $(TESTS)

bench: env $(FAIRSEQ)
	@$(VENV)/bin/python benchmarks/run.py $(BENCH)

# it cannot be installed beside a current Python: functions are taken from its sources
$(FAIRSEQ): | env
	@rm -rf $@.tmp && mkdir -p $@.tmp
	$(VENV)/bin/python -m pip download -q --no-deps --no-binary fairseq \
		--no-build-isolation --dest $@.tmp fairseq==0.12.2
	@tar -xzf $@.tmp/fairseq-*.tar.gz -C $@.tmp --strip-components 1 && mv $@.tmp $@

lint: env
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/lint.sh

hooks: env
	@$(VENV)/bin/pre-commit install

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(VENV).log $(VENV).lock .venv312 .venv312.log .venv312.lock \
		$(FAIRSEQ)
