# Sourced by the scripts of this folder: one way to call dnf, and the pins' words in dnf's form.
# /run/repos holds the line's own repositories; they are mounted, so no image keeps them.
DNF_OPTIONS="-y --setopt=reposdir=/etc/yum.repos.d,/run/repos --setopt=install_weak_deps=False --setopt=tsflags=nodocs"

repo_dnf() {
    # shellcheck disable=SC2086 # options are words
    dnf $DNF_OPTIONS "$@"
}

# package=[epoch:]version-release, as pins say it for every line -> package-[epoch:]version-release
specs() {
    for word in "$@"; do
        case $word in
            *=*) printf '%s-%s ' "${word%%=*}" "${word#*=}" ;;
            *) printf '%s ' "$word" ;;
        esac
    done
}
