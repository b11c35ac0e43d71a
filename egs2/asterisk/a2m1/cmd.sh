# shellcheck shell=bash
# How programs are started: COMMAND [--gpu N] LOG PROGRAM..., as Kaldi's queue.pl
# and slurm.pl take it. The default runs them here.
export train_cmd="${A2M_ROOT}/local/run_logged.sh"
export cuda_cmd="${A2M_ROOT}/local/run_logged.sh"
