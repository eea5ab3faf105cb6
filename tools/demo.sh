#!/usr/bin/env bash
# The whole line on a sample crawl, one command per step. Run by `make demo`; the argument is the folder for all results.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-demo_run}
db=$out/exp_data
tokenizer=$out/tokenizer.json
data=$out/filtered/demo

corpusmith sample-crawl --output "$out/crawl"
corpusmith ingest --input "$out/crawl" --output_dir "$out/pages" --readable_name demo_pages --exp-data-dir "$db"
corpusmith process --raw_data_dirpath "$out/pages/processed_data" --config_path baselines/baselines_configs/demo.yaml \
  --output_dir "$out/filtered" --readable_name demo_filtered --exp-data-dir "$db"
corpusmith train-tokenizer --input "$data/processed_data/train" --output "$tokenizer" --vocab_size 4096
corpusmith tokenize --input "$data/processed_data/train" --output "$data/tokenized/train" --tokenizer "$tokenizer" \
  --seqlen 256 --wds_chunk_size 512 --readable_name demo_train --exp-data-dir "$db"
corpusmith tokenize --input "$data/processed_data/heldout" --output "$data/tokenized/heldout" --tokenizer "$tokenizer" \
  --seqlen 256 --wds_chunk_size 512 --readable_name demo_heldout --exp-data-dir "$db"
torchrun --nproc-per-node 2 -m training.train -- --scale tiny --data-config "$db/datasets/tokenized/demo_train.json" \
  --val-data "$db/datasets/tokenized/demo_heldout.json" --logs "$out/logs" --git-db "$db/models" --multiple-data-passes
corpusmith eval --database_path "$db" --eval_yaml eval/sample.yaml --tokenizer "$tokenizer" --output_dir "$db/evals" --no_skip
corpusmith report "$data" --exp-data-dir "$db"

echo
echo "crawl:       $out/crawl"
echo "pages:       $out/pages/processed_data"
echo "filtered:    $data/processed_data"
echo "tokenized:   $data/tokenized"
echo "model:       $out/logs"
echo "evaluation:  $db/evals"
echo "report:      $data/report.html"
