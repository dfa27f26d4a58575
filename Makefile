# Two commands matter: `make figures` and `make test`. Both set everything up first.
SHELL := bash
.DELETE_ON_ERROR:
.PHONY: figures tables test reproduce train drawn real peers bench gpu lab docs clean

PYTHON ?= python3
# Processes that test at the same time.
WORKERS ?= 2

# toy (seconds), small (the released numbers), real, paper
export FACEANON_PRESET ?= small
# Waiting threads sleep instead of spinning: several times faster on a busy machine.
export OMP_WAIT_POLICY ?= passive
# One thread a process: the same sums in the same order, and on two cores it is also the faster choice.
export OMP_NUM_THREADS ?= 1
# Lets CUDA repeat its matrix products exactly.
export CUBLAS_WORKSPACE_CONFIG ?= :4096:8
export MPLBACKEND := Agg
export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Neither the reader's own IPython settings nor their history take part.
export IPYTHONDIR := $(CURDIR)/.venv/share/ipython

INSTALLED := .venv/.installed
STUDIES := $(sort $(wildcard nbs/study/*.ipynb))

# Runs notebooks cell by cell in the terminal, so that progress bars and prints show as they happen.
# Stops at the first cell that raises.
define run_notebooks
	@set -e; for notebook in $(1); do \
	  echo "== $$notebook ($$FACEANON_PRESET)"; \
	  .venv/bin/ipython --HistoryManager.enabled=False "$$notebook"; \
	done
endef

# Draws every figure from committed numbers, then recomputes the heart of them and compares.
figures: $(INSTALLED)
	$(call run_notebooks,$(STUDIES) nbs/reproduce/05_heart.ipynb)

# Writes the tables of README.md and of the model card from committed numbers.
tables: $(INSTALLED)
	.venv/bin/python -c "from faceanon.plots.tables import write_tables; print('written:', *write_tables() or ['nothing'])"

test: $(INSTALLED)
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadgroup tests

# Trains the M's of the README's table, but for the nine runs of 25_paper_objective; goes on from runs/ where it was stopped.
train: $(INSTALLED)
	$(call run_notebooks,nbs/reproduce/01_train.ipynb)

# Trains the M of the world that draws faces, three seeds; goes on from runs/. Best on a GPU, with FACEANON_PRESET=real.
drawn: $(INSTALLED)
	$(call run_notebooks,nbs/reproduce/17_train_drawn.ipynb nbs/reproduce/18_unmet_detectors.ipynb)

# Recomputes the numbers of those M's and redraws every figure. Judges and later M's have notebooks of their own: 14, 16 to 26.
reproduce: train
	$(call run_notebooks,nbs/reproduce/02_evaluate.ipynb nbs/reproduce/03_ablation.ipynb nbs/reproduce/04_pictures.ipynb \
	  nbs/reproduce/07_scores.ipynb nbs/reproduce/08_inside.ipynb nbs/reproduce/09_stories.ipynb \
	  nbs/reproduce/27_weight_paths.ipynb)
	$(call run_notebooks,$(STUDIES))

# Photographs and video, from the folder that FACEANON_DATA names: the released M under every attacker, then the figures.
real: export FACEANON_PRESET := real
real: .venv/.installed-attack
	$(call run_notebooks,nbs/reproduce/06_real.ipynb $(filter nbs/study/real%,$(STUDIES)))

# Beside deface and other trackers, which are installed below runs/ for it, and memory against length. Data as for `real`.
peers: export FACEANON_PRESET := real
peers: $(INSTALLED)
	$(call run_notebooks,nbs/reproduce/10_peers.ipynb nbs/reproduce/11_memory.ipynb nbs/reproduce/13_trackers.ipynb nbs/reproduce/22_recall.ipynb)

# Speed, memory and growth beside deface, and what many hours of film cost. Data as for `real`.
bench: export FACEANON_PRESET := real
bench: $(INSTALLED)
	$(call run_notebooks,nbs/reproduce/21_bench.ipynb)

# What only a CUDA device can tell: speed of M and of training against its own rate of matrix products. Then the M that draws
# trains for FACEANON_SECONDS, and the one for photographs as long on the CPU, where FACEANON_DATA names a folder; call it
# again to go on.
gpu: export FACEANON_PRESET := paper
gpu: export FACEANON_SECONDS ?= 300
gpu: $(INSTALLED)
	$(call run_notebooks,nbs/reproduce/15_gpu_speed.ipynb nbs/reproduce/17_train_drawn.ipynb \
	  $(and $(FACEANON_DATA),nbs/reproduce/19_train_photo.ipynb))
	@[ -n "$$FACEANON_DATA" ] || echo "== the M for photographs does not train: FACEANON_DATA is not set"

lab: $(INSTALLED)
	.venv/bin/jupyter lab nbs

# The notebooks and the API as a site in _docs/ that opens from the disk, and _docs/play/faceanon_play.html. The program
# that runs the networks in the page comes from the npm registry; without npm all else is built.
docs: $(INSTALLED)
	.venv/bin/python .docs/fetch_runtime.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
	@echo "== open _docs/index.html in a browser, or _docs/play/faceanon_play.html alone"

# Keeps runs/, which may hold hours of training.
clean:
	rm -rf .venv build dist *.egg-info _docs _proc .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): settings.ini setup.py pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -e '.[dev]'
	touch $@

# A recogniser that others trained; only the photographs need it.
.venv/.installed-attack: $(INSTALLED)
	.venv/bin/python -m pip install -e '.[attack]'
	touch $@
