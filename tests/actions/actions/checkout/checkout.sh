#!/usr/bin/env bash
# Like the real action: one commit without its history, unless more is asked for, and nothing that is not committed.
set -euo pipefail

if [[ -n $REPOSITORY && $REPOSITORY != "$GITHUB_REPOSITORY" ]]; then
  echo "only $GITHUB_REPOSITORY can be checked out here, not $REPOSITORY" >&2
  exit 1
fi
mkdir -p "$FOLDER"
cd "$FOLDER"
git init --quiet
git remote add origin "$STUB_ORIGIN"

if ((DEPTH == 0)); then
  git fetch --quiet --tags origin '+refs/heads/*:refs/remotes/origin/*'
  shallow=()
else
  shallow=(--depth "$DEPTH" --no-tags)
fi

# The commit of the event stands on its branch; a ref that is asked for may be a branch, a tag or a commit.
if [[ -z $REF ]]; then
  wanted=$GITHUB_SHA
  branch=${GITHUB_REF#refs/heads/}
  [[ $GITHUB_REF == refs/heads/* ]] || branch=""
else
  wanted=$REF
  branch=""
  if git ls-remote --quiet --exit-code --heads origin "refs/heads/${REF#refs/heads/}" >/dev/null; then
    branch=${REF#refs/heads/}
    wanted=refs/heads/$branch
  fi
fi
git fetch --quiet "${shallow[@]}" origin "$wanted"
if [[ -n $branch ]]; then
  git update-ref "refs/remotes/origin/$branch" FETCH_HEAD
  git checkout --quiet -B "$branch" "refs/remotes/origin/$branch"
else
  git checkout --quiet --detach FETCH_HEAD
fi

# A repository that is a folder asks nobody who they are.
if [[ $MAY_PUSH != true && $STUB_ORIGIN == file:* ]]; then
  git remote set-url --push origin "/checked out with persist-credentials: $MAY_PUSH"
fi
git log --max-count 1 --format='%H %s'
