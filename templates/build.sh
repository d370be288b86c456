#!/usr/bin/env bash
# Builds and publishes the Flex Templates of all jobs with Cloud Build.
#
#   templates/build.sh PROJECT REGION [TAG]
#
# REGION  of the builds; images and templates are where Terraform made their places.
# TAG  of the images (default: the commit). A tag never moves: what was built under it stays, and
#      the same command again makes what is missing.
#
# Account, images, sources and templates are where templates/terraform made them.
set -euo pipefail

if (($# < 2 || $# > 3)); then
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
project=$1 region=$2
cd "$(dirname "$0")/.."
tag=${3:-$(git rev-parse --short=12 HEAD)}

# What is pushed under a tag stays, so it must be what the commit has.
inputs=(beam_jobs templates/Dockerfile templates/launch.py setup.py pyproject.toml requirements.txt)
changed=$(git status --porcelain -- "${inputs[@]}")
if [[ -n $changed ]]; then
  printf 'templates/build.sh: commit these first; a tag never moves:\n%s\n' "$changed" >&2
  exit 2
fi

made() { terraform -chdir=templates/terraform output -raw "$1"; }
builder=$(made builder) images=$(made images) sources=$(made sources) templates=$(made templates)

for metadata in templates/*.metadata.json; do
  job=$(basename "$metadata" .metadata.json)
  gcloud builds submit . \
    --project="$project" \
    --region="$region" \
    --service-account="$builder" \
    --gcs-source-staging-dir="$sources" \
    --config=templates/cloudbuild.yaml \
    --substitutions="_IMAGE=$images/$job:$tag,_JOB=$job,_TEMPLATE=$templates/$job-$tag.json"
done

echo "The schedules launch this release after:"
echo "  terraform -chdir=templates/terraform apply -var release=$tag"
