# shellcheck shell=bash disable=SC2034,SC2154  # for local/data.sh
mic=${train_set%_train}
dev=ihm_dev valid=${mic}_valid
[ "${mic}" != mdm ] || dev=dev
sets=("${train_set}" ihm_dev dev eval)
