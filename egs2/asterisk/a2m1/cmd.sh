# shellcheck shell=bash
# How programs are started: COMMAND [--gpu N] LOG PROGRAM..., as Kaldi's queue.pl
# and slurm.pl take it. The default, of ${A2M_ROOT}/local, runs them here.
export train_cmd=run_logged.sh
export cuda_cmd=run_logged.sh
