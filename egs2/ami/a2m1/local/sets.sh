# shellcheck shell=bash disable=SC2034,SC2154  # for local/data.sh
mic=${train_set%_train}
dev=${mic}_dev valid=${mic}_valid
sets=("${train_set}" {ihm,sdm1}_{dev,eval})
[ "${mic}" != mdm8 ] || sets+=(mdm8_{dev,eval})
