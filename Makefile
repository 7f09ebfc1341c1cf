# `make demo` and `make test` set up what they need in .venv, from the tested set of versions.
# The first of these that runs here and that torch is built for; `make PYTHON=python3.12` names one.
PYTHON ?= python3.14 python3.13 python3.12 python3.11 python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check docs docs-serve field fuzz browser bench figures nano nano-decoder nano-1 nano-1-lm quantisers torch-versions clean

demo: $(VENV)/small
	$(BIN)/acomp demo --output-dir demo --overwrite

# Two at a time, each on one thread, whatever the machine: a worker takes up to 4 GB.
WORKERS ?= 2
test: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of docs/ and of the Python interface, into build/docs; `docs-serve` shows it as it is written.
docs: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs-serve: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Hostile files for every reader, from another beginning each time; what fails is kept in build/fuzz.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/support/fuzzing.py --seconds $(FUZZ_SECONDS) --seed $$(date +%s)000

CODECS := nano@1.5 nano@3 nano@6 nano@12 opus@6 opus@8 opus@12 opus@16

# What README and docs quote; on an otherwise idle machine.
figures: $(VENV)/ready
	$(BIN)/python tests/benchmarks/bench_packing.py
	$(BIN)/python tests/benchmarks/bench_sizes.py
	$(BIN)/python tests/benchmarks/bench_startup.py
	for sample in speech music; do \
	    $(BIN)/acomp eval acomp/samples/$$sample.flac $(CODECS:%=-c %) -o build/$$sample || exit 1; \
	done

# nano-1 from scratch, into build/nano: audio from Debian packages, hours of training on a CPU, and how
# it sounds beside Opus. Interrupted, it goes on where it was.
nano-1: $(VENV)/ready
	$(BIN)/python examples/nano/prepare.py build/nano/data
	if [ -d build/nano/run/checkpoints ]; then \
	    $(BIN)/acomp train --resume --out build/nano/run; \
	else \
	    $(BIN)/acomp train -b nano-1 --from-scratch --config examples/nano/nano.yaml --out build/nano/run \
	        --data build/nano/data/speech/train=0.6 --data build/nano/data/music/train=0.4; \
	fi
	for kind in speech music; do \
	    $(BIN)/acomp eval build/nano/data/evaluate/$$kind -o build/nano/$$kind \
	        $(foreach kbps,1.5 3 6 12,-c nano-1@$(kbps):build/nano/run/best.safetensors) \
	        $(foreach kbps,6 8 12 16,-c opus@$(kbps)) || exit 1; \
	done

# nano and its language model, best on a GPU, into build/nano-gpu: minutes of each phase of training,
# and what to begin with. Interrupted, it goes on.
MINUTES ?= 4 24 12
BEGIN ?= --begin acomp/backends/nano/nano_2.safetensors
nano: $(VENV)/ready
	$(BIN)/python examples/nano/prepare.py build/nano/data
	$(BIN)/python examples/nano/gpu/pack.py build/nano/data build/nano-gpu/audio
	PYTHONPATH=. $(BIN)/python examples/nano/gpu/train.py build/nano-gpu/audio build/nano-gpu/run \
	    --minutes $(MINUTES) $(BEGIN)
	PYTHONPATH=. $(BIN)/python examples/nano/gpu/export.py build/nano-gpu/run/average.pt build/nano-gpu/nano-2.safetensors
	PYTHONPATH=. $(BIN)/python examples/nano/gpu/language_model.py \
	    build/nano-gpu/audio build/nano-gpu/nano-2.safetensors build/nano-gpu/nano-2-lm.safetensors

# nano's decoder trained further on a CPU while its codes stay, into build/nano-decoder.
nano-decoder: $(VENV)/ready
	$(BIN)/python examples/nano/prepare.py build/nano/data
	$(BIN)/python examples/nano/gpu/pack.py build/nano/data build/nano-decoder/audio --flac
	PYTHONPATH=. $(BIN)/python examples/nano/gpu/decoder.py build/nano-decoder/audio build/nano-decoder/run $(BEGIN)
	PYTHONPATH=. $(BIN)/python examples/nano/gpu/export.py \
	    build/nano-decoder/run/average.pt build/nano-decoder/nano-2.safetensors

# nano beside other codecs on sound that none of it was trained on, into build/field: hours. LYRA is the
# folder of SoundStream's published weights, if they cannot be downloaded.
LYRA ?=
KBPS = $(foreach kbps,$(2),-c $(1)@$(kbps)$(3))
FIELD = $(call KBPS,nano,6 3 1.5 1 12) $(call KBPS,nano-1,6) $(call KBPS,opus,6 8 12)
EARS := si_sdr,pesq,stoi,zimtohrli,visqol_speech,dnsmos_ovrl,distillmos,speaker,phone_error,log_mel
field: $(VENV)/ready
	$(BIN)/python examples/nano/testset.py build/nano/testset
	$(BIN)/acomp eval build/nano/testset/speech --content speech -o build/field/speech --metrics $(EARS) \
	    $(FIELD) $(call KBPS,soundstream,3.2 6,$(LYRA:%=:%)) \
	    $(call KBPS,codec2,1.2 3.2) $(call KBPS,speex,4 8) -c mp3@8 -c aac@8 -c pcm8 -c pcm
	$(BIN)/acomp eval build/nano/testset/music --content other -o build/field/music \
	    --metrics si_sdr,zimtohrli,visqol_audio,log_mel,mr_stft $(FIELD) \
	    $(call KBPS,nano-1,3 12) -c mp3@8 -c aac@8 -c pcm8

# nano-1's language model, into build/nano/lm, on the same audio; and what it saves.
nano-1-lm: $(VENV)/ready
	$(BIN)/python examples/nano/prepare.py build/nano/data
	if [ -d build/nano/lm/checkpoints ]; then \
	    $(BIN)/acomp train --resume --out build/nano/lm; \
	else \
	    $(BIN)/acomp train -b nano-1 --config examples/nano/language-model.yaml --out build/nano/lm \
	        --data build/nano/data/speech/train=0.6 --data build/nano/data/music/train=0.4; \
	fi
	$(BIN)/python tests/benchmarks/bench_entropy.py nano-1 --language-model build/nano/lm/best.safetensors \
	    build/nano/data/evaluate/speech build/nano/data/evaluate/music build/nano/data/evaluate

# The page in which nano runs, into examples/browser/dist, for any web server; takes node and npm.
browser: $(VENV)/ready
	cd examples/browser && npm ci && PATH="$(abspath $(BIN)):$$PATH" npm run build

# Quantisers compared on noisy speech, into build/quantisers: two to three minutes of one core a run, three
# runs of each. Interrupted, it goes on where it was.
EPOCHS ?= 6
quantisers: $(VENV)/ready
	$(BIN)/python examples/quantisers/run.py --epochs $(EPOCHS)

# What README and docs compare with the official packages; on an otherwise idle machine.
bench: $(VENV)/ready
	$(BIN)/acomp bench
	$(BIN)/python tests/benchmarks/bench_entropy.py

# torch first: its exact version brings the CPU build where a registry offers one.
TORCH_FIRST = $(BIN)/pip install --quiet -c constraints.txt --only-binary torch torch
$(BIN)/python:
	@for python in $(PYTHON); do \
	    $$python -c "import ensurepip, venv" 2>/dev/null || continue; \
	    echo "$$python -m venv $(VENV)"; \
	    $$python -m venv --clear $(VENV) && $(TORCH_FIRST) && exit 0; \
	    rm -rf $(VENV); \
	done; \
	echo "none of these makes a virtual environment with torch: $(PYTHON);" \
	    "on Debian, apt install python3-venv python3-dev" >&2; exit 1

$(VENV)/small: pyproject.toml constraints.txt | $(BIN)/python
	$(TORCH_FIRST)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[fast,pages]"
	touch $@

# DAC's own package, which the tests compare acomp with, without the old versions that it asks for;
# [dev] has what it imports.
DAC := descript-audio-codec descript-audiotools

# One of the packages of [eval], pesq, is built from source: this needs a C compiler. Those of
# [eval-full] need a C++ compiler too, and their tests are skipped without them.
$(VENV)/ready: $(VENV)/small
	$(BIN)/pip install --quiet -c constraints.txt -e ".[all,dev,docs]"
	$(BIN)/pip install --quiet -c constraints.txt --no-deps $(DAC)
	{ $(BIN)/pip install --quiet -c constraints.txt -e ".[eval-full]" && \
	    $(BIN)/pip install --quiet -c constraints.txt --no-deps resemblyzer; } || \
	    echo "tests of metrics that [eval-full] brings are skipped" >&2
	touch $@

# The same tests beside other versions of torch: gigabytes of download, so not part of `test`.
TORCH ?= 2.6.0 2.11.0 2.13.0 2.15.0
torch-versions: $(BIN)/python
	for version in $(TORCH); do \
	    $(BIN)/python -m venv build/torch-$$version && \
	    build/torch-$$version/bin/pip install --quiet torch==$$version && \
	    build/torch-$$version/bin/pip install --quiet -e ".[all,dev]" && \
	    build/torch-$$version/bin/pip install --quiet --no-deps $(DAC) && \
	    build/torch-$$version/bin/python -m pytest || exit 1; \
	done

# All but what was trained and what fuzzing found: build/nano, build/nano-gpu, build/nano-decoder, build/fuzz.
clean:
	rm -rf $(VENV) demo dist *.egg-info
	rm -rf build/bdist.* build/ci build/docs build/lib build/music build/speech build/torch-*
