#!/bin/sh
# Save the depth of a photo as a 16-bit PNG.
#
#     sh examples/serve/curl.sh photo.jpg depth.png
#
# Depth is the value of a pixel times X-Depth-Scale; 0 is invalid.
set -eu

url=${DA3_URL:-http://127.0.0.1:8008}
# --retry waits as long as Retry-After asks when the server is busy.
curl --fail-with-body --silent --show-error --retry 5 \
  ${DA3_TOKEN:+--header "Authorization: Bearer $DA3_TOKEN"} \
  --header "Accept: image/png" \
  --data-binary "@$1" --header "Content-Type: image/jpeg" \
  --dump-header "$2.headers" --output "$2" \
  "$url/v1/depth?output_size=input"
grep -i "^x-depth-\(unit\|scale\|shape\)" "$2.headers"
rm "$2.headers"
