#!/bin/sh
# Deletes from a virtual environment what a server never imports. Usage: slim.sh FOLDER
set -eu
for site in "$1"/lib/python3.*/site-packages; do
    rm -rf "$site"/pyarrow/tests "$site"/pyarrow/include "$site"/pyarrow/src "$site"/pyarrow/includes
    rm -f "$site"/pyarrow/libarrow_flight* "$site"/pyarrow/_flight* "$site"/pyarrow/libarrow_substrait* \
        "$site"/pyarrow/_substrait* "$site"/pyarrow/*.pxd "$site"/pyarrow/*.pyx "$site"/pyarrow/*.pxi
    rm -rf "$site"/numpy/f2py "$site"/torch/include "$site"/torch/test
    find "$site"/numpy "$site"/pandas "$site"/scipy "$site"/sklearn "$site"/fsspec -type d -name tests \
        -prune -exec rm -rf {} + 2>/dev/null || true
done
