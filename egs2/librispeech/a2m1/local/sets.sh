# shellcheck shell=bash disable=SC2034,SC2154  # for local/data.sh
dev=dev valid=dev
sets=("${train_set}" dev dev_clean dev_other test_clean test_other)
