# shellcheck shell=bash
# Name a cluster's programs here, e.g. cuda_cmd="slurm.pl --config conf/slurm.conf"
. "${A2M_ROOT}/local/cmd.sh"
