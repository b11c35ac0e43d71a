# Command-line options from one list; to be sourced.
# shellcheck shell=bash disable=SC2154  # the caller sets option_list
#
#   option_list='
#   # heading
#   name | default | help
#   '
#   parse_options "$@"
#
# sets a variable for each option from --name VALUE or --name=VALUE; a dash in a name
# counts as an underscore. --help lists the options that have a help text. An unknown
# option is an error, and so is a value of another kind where the default is a number,
# true or false.
#
#   parse_known_options "$@"
#
# leaves what the list does not have, and --help, in the array `rest`.

each_option() {  # FUNCTION: call it with name, default and help of each option
    local name default help
    while IFS='|' read -r name default help; do
        read -r name <<<"${name}"
        read -r default <<<"${default}"
        read -r help <<<"${help}"
        [ -z "${name}" ] || "$1" "${name}" "${default}" "${help}"
    done <<<"${option_list}"
}

set_default() {
    [ "${1:0:1}" != "#" ] || return 0
    printf -v "$1" '%s' "$2"
    option_defaults[$1]=$2
}

show_option() {
    case "$1:$3" in
        \#*) printf '\n%s\n' "${1#\# }" ;;
        *:) ;;
        *) printf '  --%-24s %s%s\n' "$1" "$3" "${!1:+ [${!1}]}" ;;
    esac
}

die() {
    echo "ERROR: $*" >&2
    exit 1
}

# Shell arithmetic would run the commands in a value that is not a number.
check_value() {  # NAME VALUE
    local default=${option_defaults[$1]} problem=''
    local integer='^[0-9]+$' number='^[0-9]+(\.[0-9]*)?(e-?[0-9]+)?$' flag='^(true|false)$'
    if [[ $2 == *[[:cntrl:]]* ]]; then
        problem="has a line break or another control character"
    elif [[ ${default} =~ ${integer} ]] && ! [[ $2 =~ ${integer} ]]; then
        problem="is not an integer"
    elif [[ ${default} =~ ${number} ]] && ! [[ $2 =~ ${number} ]]; then
        problem="is not a number"
    elif [[ ${default} =~ ${flag} ]] && ! [[ $2 =~ ${flag} ]]; then
        problem="is neither true nor false"
    fi
    [ -z "${problem}" ] || die "the value of --$1 ${problem}: $(printf '%q' "$2")"
}

parse_known_options() {
    declare -gA option_defaults=()
    rest=()
    each_option set_default
    local name value words
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                echo "Options of $0 (--name value):"
                each_option show_option
                rest+=(--help)
                shift
                continue
                ;;
            --*=*) name=${1%%=*} value=${1#*=} words=1 ;;
            --*)
                [ $# -gt 1 ] || die "$1 needs a value"
                name=$1 value=$2 words=2
                ;;
            *) name='' words=1 ;;
        esac
        name=${name#--}
        name=${name//-/_}
        if [[ ${name} =~ ^[a-z0-9_]+$ && -n ${option_defaults[${name}]+set} ]]; then
            check_value "${name}" "${value}"
            printf -v "${name}" '%s' "${value}"
        else
            rest+=("${@:1:words}")
        fi
        shift "${words}"
    done
}

parse_options() {
    local name nearest
    parse_known_options "$@"
    [ "${#rest[@]}" -gt 0 ] || return 0
    case "${rest[0]}" in
        --help) exit 0 ;;
        --*) ;;
        *) die "${rest[0]} is not an option (--help lists them)" ;;
    esac
    name=${rest[0]#--}
    name=${name%%=*}
    name=${name//-/_}
    nearest=$(python3 -c 'import difflib, sys
print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1))' \
        "${name}" "${!option_defaults[@]}")
    die "unknown option --${name}${nearest:+; did you mean --${nearest}?}" \
        "(--help lists them all)"
}
