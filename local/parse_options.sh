# Command-line options from one list, to be sourced.
# shellcheck shell=bash disable=SC2154  # the caller sets option_list
#
#   option_list='name | default | help
#   ...'
#   parse_options "$@"
#
# sets a variable for each name, prints the list for --help, takes --a-b v,
# --a_b v and --a_b=v, and dies on an unknown option with the nearest name, and on a
# value that is no number, true or false where the default is one.
# Lines that start with # are headings.

each_option() {  # calls $1 with name, default, help of each option
    local name default help
    while IFS='|' read -r name default help; do
        read -r name <<<"${name}"
        read -r default <<<"${default}"
        read -r help <<<"${help}"
        [ -z "${name}" ] || "$1" "${name}" "${default}" "${help}"
    done <<<"${option_list}"
}

option_default() {
    [ "${1:0:1}" != "#" ] || return 0
    printf -v "$1" '%s' "$2"
    option_names+=("$1")
    option_defaults[$1]=$2
}

option_help() {
    case "$1" in
        \#*) printf '\n%s\n' "${1#\# }" ;;
        *) printf '  --%-24s %s%s\n' "$1" "$3" "${!1:+ [${!1}]}" ;;
    esac
}

unknown_option() {
    local nearest
    nearest=$(python3 -c 'import difflib, sys
print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1))' \
        "$1" "${option_names[@]}")
    echo "ERROR: unknown option --$1${nearest:+; did you mean --${nearest}?}" \
        "(--help lists them all)" >&2
    exit 1
}

# Shell arithmetic would run the commands in a value that is no number.
check_value() {  # NAME VALUE
    local default=${option_defaults[$1]} problem='' whole='^[0-9]+$' number='^[0-9]+(\.[0-9]*)?(e-?[0-9]+)?$'
    if [[ $2 == *[[:cntrl:]]* ]]; then
        problem="has a line break or another control character"
    elif [[ ${default} =~ ${whole} ]] && ! [[ $2 =~ ${whole} ]]; then
        problem="is not a whole number"
    elif [[ ${default} =~ ${number} ]] && ! [[ $2 =~ ${number} ]]; then
        problem="is not a number"
    elif [[ ${default} =~ ^(true|false)$ ]] && ! [[ $2 =~ ^(true|false)$ ]]; then
        problem="is neither true nor false"
    fi
    if [ -n "${problem}" ]; then
        echo "ERROR: the value of --$1 ${problem}: $(printf '%q' "$2")" >&2
        exit 1
    fi
}

parse_options() {
    option_names=()
    declare -gA option_defaults=()
    each_option option_default
    local name value
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                echo "Usage: $0 [--option value]..."
                each_option option_help
                printf '%s' "${A2M_RECIPE_OPTIONS:+
Of this recipe (local/data.sh --help says more)
${A2M_RECIPE_OPTIONS}}"
                exit 0
                ;;
            --*=*) name=${1%%=*} value=${1#*=} ; shift ;;
            --*)
                name=$1
                if [ $# -lt 2 ]; then
                    echo "ERROR: $1 needs a value" >&2
                    exit 1
                fi
                value=$2 ; shift 2
                ;;
            *)
                echo "ERROR: $1 is not an option (--help lists them)" >&2
                exit 1
                ;;
        esac
        name=${name#--}
        name=${name//-/_}
        [[ ${name} != *[!a-z0-9_]* && " ${option_names[*]} " == *" ${name} "* ]] ||
            unknown_option "${name}"
        check_value "${name}" "${value}"
        printf -v "${name}" '%s' "${value}"
    done
}
