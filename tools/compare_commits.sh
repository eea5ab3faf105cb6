#!/usr/bin/env bash
# Does a change keep the bytes? Run two commits over the same inputs and compare what they made; with --time, compare
# the CPU seconds of the benchmarks instead. `tools/compare_commits.sh --help` tells more.
set -euo pipefail

BENCHMARKS=(mappers dedup ingest tokenize_shuffle)
# the model of this config is on the Hugging Face Hub
NEED_HUB=(fineweb_edu)
# real pages of moderate size, `\u` escapes (7), many zstd frames (5) and a tiny shard (8); damaged and unusual files
SOME_PAGES=(shard_0000000{1,5,7,8}_processed.jsonl.zst
    bad/{malformed_lines,invalid_utf8,two_frames,bit_flip}.jsonl.zst bad/truncated.jsonl.gz)
# of the sample crawl; tokens in every format, as they come and by a mixture
SAMPLE_RUNS=(crawl ingest_{fast,best} tokenizer tokenize_{wds,mds,parquet,bin}{,_mixture})

usage() {
    cat <<'TEXT'
usage: tools/compare_commits.sh [options] OLD NEW
       tools/compare_commits.sh --time [options] OLD NEW

Check out two commits, give each an environment that borrows the packages of this one, and run both over the same
inputs: the demo, the sample crawl's ingest and its tokens in every format, each shipped config and each dedup over
real pages. Then compare all files: shards, indexes, manifests, statistics and references, but for what must differ
(uuids, dates, commit, diff, times). A table tells what was compared and what differs.

With --time, run the quick benchmarks of both in turn and compare medians of their CPU seconds. The first run in a
checkout compiles kernels and isn't counted.

OLD and NEW are anything that git takes for a commit; the same commit twice is run twice. What isn't committed isn't
compared. Packages come from .venv of this checkout, or else from the python3 on the PATH. Real pages and tokenizers
are found by CORPUSMITH_SHARED (default: `shared` beside the checkout); runs that need them are left out without.

options:
  --work DIR     keep checkouts and outputs here, and reuse what a commit made before (default: a temporary folder)
  --again        redo what is kept
  --only GLOB    only runs (or, with --time, benchmarks) whose name matches, like 'process_*'
  --whole        all real pages instead of a twelfth of them
  --cpus N       CPUs for each run (default: 2); never changes the result
  --list         name the runs and stop
  --time         compare CPU seconds
  --repeats N    runs of each benchmark and commit (default: 5)
  --limit X      how much worse a median may be (default: 0.05)
  -h, --help     show this

exit code: 0 all is equal (no slower), 1 something differs (is slower), 2 it could not be run

example:
  tools/compare_commits.sh --work ../compare main HEAD
  tools/compare_commits.sh --work ../compare --time --only ingest main HEAD
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }

# --- arguments --------------------------------------------------------------------------------------------------

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work='' again='' only='*' whole='' cpus=2 list='' timing='' repeats=5 limit=0.05
commits=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --time) timing=1 ;;
        --again) again=1 ;;
        --whole) whole=1 ;;
        --list) list=1 ;;
        --work | --only | --cpus | --repeats | --limit)
            [ $# -ge 2 ] || die "$1 needs a value"
            case $1 in
                --work) work=$2 ;;
                --only) only=$2 ;;
                --cpus) cpus=$2 ;;
                --repeats) repeats=$2 ;;
                --limit) limit=$2 ;;
            esac
            shift
            ;;
        -*) die "unknown option $1; see --help" ;;
        *) commits+=("$1") ;;
    esac
    shift
done
[ ${#commits[@]} = 2 ] || die "two commits are needed, OLD and NEW, got ${#commits[@]}; see --help"
[[ $cpus =~ ^[1-9][0-9]*$ ]] || die "--cpus must be a whole number from 1 on, got $cpus"
[[ $repeats =~ ^[1-9][0-9]*$ ]] || die "--repeats must be a whole number from 1 on, got $repeats"
[[ $limit =~ ^[0-9]*\.?[0-9]+$ ]] || die "--limit must be a number like 0.05, got $limit"

commit_id() {
    git -C "$root" rev-parse --verify --quiet "$1^{commit}" || die "unknown commit: $1 (git log --oneline shows them)"
}
old_id=$(commit_id "${commits[0]}")
new_id=$(commit_id "${commits[1]}")

python=$root/.venv/bin/python
[ -x "$python" ] || python=$(command -v python3) || die "no Python: neither $root/.venv nor python3 on the PATH"
"$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ("ray", "torch"))))' ||
    die "$python lacks the packages that Corpusmith needs; \`make test\` makes a .venv that has them"

shared=${CORPUSMITH_SHARED:-$(dirname "$root")/shared}
pages=$shared/data/pages
[ -d "$pages" ] || { say "no real pages at $pages (set CORPUSMITH_SHARED): runs over them are left out"; pages=''; }

# --- the two sides ----------------------------------------------------------------------------------------------

trees=()
# shellcheck disable=SC2329 # called by the trap
clean_up() {
    local tree
    for tree in "${trees[@]}"; do git -C "$root" worktree remove --force "$tree" || true; done
    rm -rf "$work"
}
if [ -n "$work" ]; then
    mkdir -p "$work" || die "cannot make $work"
    work=$(cd "$work" && pwd)
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/compare_commits.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
fi
exec 9>"$work/lock"
flock --nonblock 9 || die "another comparison is at work in $work"

# side FOLDER COMMIT: a checkout, and an environment whose Python takes the code there and the packages here
make_side() {
    local side=$1 id=$2 site
    mkdir -p "$side"/{outputs,commands,logs}
    if [ ! -e "$side/tree/.git" ]; then
        git -C "$root" worktree prune
        git -C "$root" worktree add --quiet --detach "$side/tree" "$id" || die "cannot check out $id"
        trees+=("$side/tree")
    fi
    git -C "$side/tree" checkout --quiet --force --detach "$id" || die "cannot check out $id"
    [ -x "$side/env/bin/corpusmith" ] && return
    say "$(basename "$side"): environment"
    "$python" -m venv --without-pip "$side/env" || die "cannot make an environment with $python"
    site=$("$side/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    {
        printf '%s\n' "$side/tree"
        "$python" -c 'import sys; print(*(p for p in sys.path if p.endswith(("site-packages", "dist-packages"))), sep="\n")'
    } >"$site/compared_commit.pth"
    make_command "$side" torchrun torch.distributed.run
    make_command "$side" corpusmith corpusmith
    check_side "$side"
}

# make_command SIDE NAME MODULE
make_command() {
    printf '#!/usr/bin/env bash\nexec %q -m %s "$@"\n' "$1/env/bin/python" "$3" >"$1/env/bin/$2"
    chmod +x "$1/env/bin/$2"
}

# check_side SIDE: this process and Ray's workers must take the code of the checkout
check_side() {
    (cd "$work" && within "$1" python - "$1/tree" <<'PY') || { rm "$1/env/bin/corpusmith"; die "the environment $1/env cannot be used"; }
import pathlib, sys

import ray

import corpusmith

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
remote = ray.get(ray.remote(lambda: __import__("corpusmith").__file__).remote())
for where, found in (("this process", corpusmith.__file__), ("a worker of Ray", remote)):
    if not pathlib.Path(found).resolve().is_relative_to(pathlib.Path(sys.argv[1]).resolve()):
        sys.exit(f"{where} takes {found}, not {sys.argv[1]}")
PY
}

# within SIDE COMMAND...: run it in the environment of that side, with models and lists of its own
within() {
    local side=$1
    shift
    env -u PYTHONPATH -u PYTHONHOME -u RAY_ADDRESS PATH="$side/env/bin:$PATH" VIRTUAL_ENV="$side/env" \
        CORPUSMITH_ASSETS="$side/assets" CORPUSMITH_SHARED="$shared" "$@" 9>&-
}

# --- the runs ---------------------------------------------------------------------------------------------------

# run NAME COMMAND...: in the checkout of $side, unless the same command was run for this commit before
run() {
    local name=$1 made=$side/outputs/$1 started=$SECONDS status=0
    shift
    names+=("$name")
    [ -n "$list" ] && return
    if [ -z "$again" ] && [ "$(cat "$side/commands/$name" 2>/dev/null)" = "$*" ]; then return; fi
    rm -rf "$made" "$side/commands/$name"
    mkdir -p "$made"
    (cd "$side/tree" && within "$side" "$@") >"$side/logs/$name.log" 2>&1 || status=$?
    if [ "$status" = 0 ]; then
        printf '%s\n' "$*" >"$side/commands/$name"
        say "$label: $name: $((SECONDS - started)) s"
    else
        printf 'exit code %s; see %s\n' "$status" "$side/logs/$name.log" >"$made/FAILED"
        say "$label: $name: FAILED with exit code $status; the end of $side/logs/$name.log:"
        tail -n 5 "$side/logs/$name.log" >&2
    fi
}

run_if_wanted() { if wanted "$1"; then run "$@"; fi; }
# shellcheck disable=SC2053 # a glob is meant
wanted() { [[ $1 == $only ]]; }
any_wanted() {
    local name
    for name in "$@"; do if wanted "$name"; then return 0; fi; done
    return 1
}

# run_all FOLDER COMMIT LABEL: all runs of a commit; their names go to `names`. Outputs stand at the same path for both
# commits while they are written and read, because some of them hold paths.
run_all() {
    side=$1 label=$3
    if [ -z "$list" ]; then
        make_side "$side" "$2"
        ln -sfn "$side/outputs" "$out"
    fi
    run_if_wanted demo bash tools/demo.sh "$out/demo"
    ! any_wanted "${SAMPLE_RUNS[@]}" || sample_runs
    [ -z "$pages" ] || page_runs "$2"
}

# reference NAME: the flags that every verb has, into `flags`
reference() { flags=(--readable_name "$1" --exp-data-dir "$out/$1/exp_data" --num_cpus "$cpus"); }

# what others read (crawl, ingest_fast, tokenizer) is made even if it is not wanted itself
sample_runs() {
    local name extractor packs=(concat concat best_fit best_fit document document concat concat) number=0
    local ingested=$out/ingest_fast/processed_data
    run crawl corpusmith sample-crawl --output "$out/crawl/crawl"
    for extractor in fast best; do
        name=ingest_$extractor
        [ "$extractor" = fast ] || wanted "$name" || continue
        reference "$name"
        run "$name" corpusmith ingest --input "$out/crawl/crawl" --extractor "$extractor" --output_dir "$out/$name" \
            "${flags[@]}"
    done
    run tokenizer corpusmith train-tokenizer --input "$ingested/train" --output "$out/tokenizer/tokenizer.json" \
        --vocab_size 4096
    for name in "${SAMPLE_RUNS[@]}"; do
        [[ $name =~ ^tokenize_([a-z]+)(_mixture)?$ ]] || continue
        reference "$name"
        flags+=(--format "${BASH_REMATCH[1]}" --pack "${packs[number++]}" --seqlen 256 --wds_chunk_size 512)
        [ "${BASH_REMATCH[1]}" = bin ] || flags+=(--with_source)
        [ -z "${BASH_REMATCH[2]}" ] || flags+=(--mixture "$work/mixture.yaml")
        run_if_wanted "$name" corpusmith tokenize --input "$ingested/train,$ingested/heldout" --output "$out/$name/tokens" \
            --tokenizer "$out/tokenizer/tokenizer.json" "${flags[@]}"
    done
}

# page_runs COMMIT: each shipped config, each dedup and a published tokenizer over real pages
page_runs() {
    local path config name neox=$shared/tokenizers/EleutherAI_gpt-neox-20b.tokenizer.json
    while read -r path; do
        config=$(basename "$path" .yaml) name=process_$(basename "$path" .yaml)
        reference "$name"
        wanted "$name" || continue
        if [[ " ${NEED_HUB[*]} " == *" $config "* ]]; then
            say "$label: $name: left out, its model is on the Hub"
        else
            run "$name" corpusmith process --config_path "$path" --assets sample \
                --raw_data_dirpath "$pages" --output_dir "$out/$name" "${flags[@]}"
        fi
    done < <(git -C "$root" ls-tree --name-only "$1" baselines/baselines_configs/ | grep '\.yaml$')
    for name in dedup_exact dedup_minhash; do
        reference "$name"
        run_if_wanted "$name" corpusmith dedup "${name#dedup_}" --input "$pages" --output_dir "$out/$name" "${flags[@]}"
    done
    run_if_wanted dedup_bff corpusmith dedup bff --inputs "$pages" --output-directory "$out/dedup_bff/pages" \
        --bloom-filter-file "$out/dedup_bff/filter.bin" --num_cpus "$cpus"
    reference tokenize_pages
    [ ! -f "$neox" ] || run_if_wanted tokenize_pages corpusmith tokenize --input "$pages" --tokenizer "$neox" \
        --output "$out/tokenize_pages/tokens" --seqlen 2048 --wds_chunk_size 128 "${flags[@]}"
}

# some_pages: a folder of links to the shards that are read
some_pages() {
    local name
    for name in "${SOME_PAGES[@]}"; do
        [ -f "$pages/$name" ] || die "no shard $pages/$name"
        mkdir -p "$(dirname "$work/pages/$name")"
        ln -sfn "$pages/$name" "$work/pages/$name"
    done
    pages=$work/pages
}

compare_outputs() {
    local name names=() once=()
    out=$work/out
    printf '%s\n' sources: '  - {source: heldout, repeat: 2.5, markers: [/heldout/]}' \
        '  - {source: train, repeat: 0.5, markers: [/train/]}' >"$work/mixture.yaml"
    [ -z "$pages" ] || [ -n "$whole" ] || some_pages
    run_all "$old_side" "$old_id" old
    run_all "$new_side" "$new_id" new
    ((${#names[@]})) || die "no run matches --only $only; --list names them"
    for name in "${names[@]}"; do [[ " ${once[*]} " == *" $name "* ]] || once+=("$name"); done
    if [ -n "$list" ]; then
        printf '%s\n' "${once[@]}"
    else
        say "$((SECONDS / 60)) minutes and $((SECONDS % 60)) seconds"
        "$python" "$root/tools/compare_outputs.py" "$old_side/outputs" "$new_side/outputs" "${once[@]}"
    fi
}

# --- times ------------------------------------------------------------------------------------------------------

# measure LABEL SIDE BENCHMARK REPEAT
measure() {
    local notes=$work/times/$1 log=$2/logs/time_$3.log round="$4 of $repeats"
    [ "$4" != 0 ] || round=warm-up
    (cd "$2/tree" && within "$2" python "$root/tools/compare_times.py" measure --output "$notes/$3.$4.total.json" -- \
        "$2/env/bin/python" "benchmarks/$3.py" --quick --json "$notes/$3.$4.rows.json") >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "$1: benchmarks/$3.py failed; see $log"
    }
    say "$3, $round, $1: $(sed 's/[^0-9]*\([0-9]*\.[0-9]\).*/\1/' "$notes/$3.$4.total.json") CPU seconds"
}

# warm_up LABEL SIDE BENCHMARK: the first run in a checkout compiles kernels; it isn't counted
warm_up() {
    [ ! -e "$2/commands/time_$3" ] || return 0
    measure "$1" "$2" "$3" 0
    rm "$work/times/$1/$3.0."*
    touch "$2/commands/time_$3"
}

compare_times() {
    local benchmark repeat measured=()
    make_side "$old_side" "$old_id"
    make_side "$new_side" "$new_id"
    rm -rf "$work/times"
    mkdir -p "$work/times"/{old,new}
    for benchmark in "${BENCHMARKS[@]}"; do
        wanted "$benchmark" || continue
        measured+=("$benchmark")
        warm_up old "$old_side" "$benchmark"
        warm_up new "$new_side" "$benchmark"
        for ((repeat = 1; repeat <= repeats; repeat++)); do
            measure old "$old_side" "$benchmark" "$repeat"
            measure new "$new_side" "$benchmark" "$repeat"
        done
    done
    ((${#measured[@]})) || die "no benchmark matches --only $only: ${BENCHMARKS[*]}"
    "$python" "$root/tools/compare_times.py" show --limit "$limit" "$work/times/old" "$work/times/new" "${measured[@]}"
}

old_side=$work/$old_id
new_side=$work/$new_id
[ "$old_id" != "$new_id" ] || new_side=$new_side-again
# on one line, because bash reads a script while it runs it, and this file may change meanwhile
if [ -n "$timing" ]; then compare_times; else compare_outputs; fi; exit
