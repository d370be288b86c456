#!/usr/bin/env bash
# Builds and publishes the Flex Templates of all jobs with Cloud Build.
#
#   templates/build.sh PROJECT REGION IMAGES TEMPLATES [TAG]
#
# IMAGES    begins the names of the images: terraform output -raw image
# TEMPLATES folder of the templates: terraform output -raw templates
# TAG       of the images (default: the commit); tags are never moved
set -euo pipefail

if (($# < 4 || $# > 5)); then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
project=$1 region=$2 images=$3 templates=$4
cd "$(dirname "$0")/.."
tag=${5:-$(git rev-parse --short=12 HEAD)}

for metadata in templates/*.metadata.json; do
  job=$(basename "$metadata" .metadata.json)
  gcloud builds submit . \
    --project="$project" \
    --region="$region" \
    --config=templates/cloudbuild.yaml \
    --substitutions="_IMAGE=$images/$job:$tag,_JOB=$job,_TEMPLATE=${templates%/}/$job.json"
done
