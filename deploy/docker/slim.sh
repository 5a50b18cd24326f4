#!/bin/sh
# Deletes from a virtual environment what a server never imports. Usage: slim.sh FOLDER
set -eu
for site in "$1"/lib/python3.*/site-packages; do
    arrow=$site/pyarrow
    rm -rf "$arrow"/tests "$arrow"/include "$arrow"/src "$arrow"/includes
    # Flight, and Amazon S3, which fsspec speaks here. libarrow_substrait stays: pyarrow links to it.
    rm -f "$arrow"/libarrow_flight* "$arrow"/libarrow_python_flight* "$arrow"/_flight* "$arrow"/libarrow_s3* \
        "$arrow"/_s3fs* "$arrow"/*.pxd "$arrow"/*.pyx "$arrow"/*.pxi
    # Wheels have no links: one library lies there under three names.
    for library in "$arrow"/libarrow_python*.so; do
        name=$(basename "$library")
        full=$(basename "$(ls "$library".*.*.*)")
        soname=${full%.*.*}
        ln -sf "$soname" "$arrow/$name" && ln -sf "$soname" "$arrow/$full"
    done
    rm -rf "$site"/torch/include
    find "$site"/numpy "$site"/pandas "$site"/scipy "$site"/sklearn "$site"/fsspec -type d -name tests \
        -prune -exec rm -rf {} + 2>/dev/null || true
done
