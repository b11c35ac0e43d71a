# shellcheck shell=bash
# How programs are started: COMMAND [--gpu N] LOG PROGRAM..., as Kaldi's queue.pl
# and slurm.pl take it. The default, beside this file, runs them here. A recipe's cmd.sh
# sources this and may then name others.
export train_cmd=run_logged.sh
export cuda_cmd=run_logged.sh
