# shellcheck shell=bash
# The programs that run commands: PROGRAM [--gpu N] LOG COMMAND..., as Kaldi's queue.pl and
# slurm.pl take it. run_logged.sh, beside this file, runs them on this machine. For a
# cluster, name its programs, such as "slurm.pl --config conf/slurm.conf": here for all
# recipes, whose cmd.sh are links to this file, or in a copy of it for one of them.
export train_cmd=run_logged.sh
export cuda_cmd=run_logged.sh
