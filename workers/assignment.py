"""One-to-one assignment: each record to one line at most, so that the whole job is likeliest right.

Greedy assignment, the surest line first, takes a record that another line has no substitute for.
"""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Weights = NDArray[np.float64]

BYTES = 220
"""Memory for a candidate: its ids, weight and place, the graph of its part, the solver's own. The
peak that tracemalloc saw was 214, with 200,000 candidates of 20,000 lines in one part."""


def assign(lines: Ids, targets: Ids, weights: Weights) -> NDArray[np.bool_]:
    """Which candidates are chosen: no line twice, no target twice, and the sum the greatest.

    A line stays without one only where others need all its candidates more. The same candidates
    give the same choice, whatever their order.

    Args:
        lines: of each candidate, (n,).
        targets: likewise; a pair of line and target occurs once.
        weights: what choosing it is worth, over 0, (n,).

    Returns:
        bool (n,).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    chosen = np.zeros(len(lines), dtype=bool)
    if not len(lines):
        return chosen
    order = np.lexsort((targets, lines))
    line = np.unique(lines[order], return_inverse=True)[1]
    target = np.unique(targets[order], return_inverse=True)[1]
    weight = weights[order]
    m, n = int(line.max()) + 1, int(target.max()) + 1
    graph = coo_matrix((np.ones(len(line), np.int8), (line, m + target)), shape=(m + n, m + n))
    part = connected_components(graph, directed=False)[1][line]
    by_part = np.argsort(part, kind="stable")
    bounds = np.flatnonzero(np.diff(part[by_part])) + 1
    for some in np.split(by_part, bounds):
        chosen[order[some[_solve(line[some], target[some], weight[some])]]] = True
    return chosen


def _solve(line: Ids, target: Ids, weight: Weights) -> Ids:
    """Places of the chosen candidates of lines and targets that hang together."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if len(line) == 1 or (line == line[0]).all():
        return np.array([int(weight.argmax())])
    row, m = _numbered(line)
    column, n = _numbered(target)
    # Every line has a place of its own besides, worth nothing, so that each finds one. A constant
    # on all keeps that from being taken for no edge, and changes no order: each line has one edge.
    values = np.concatenate([weight + 1, np.ones(m)])
    graph = csr_matrix(
        (values, (np.concatenate([row, np.arange(m)]), np.concatenate([column, n + np.arange(m)]))),
        shape=(m, n + m),
    )
    rows, columns = min_weight_full_bipartite_matching(graph, maximize=True)
    taken = np.full(m, -1, dtype=np.int64)
    taken[rows] = columns
    return np.flatnonzero(taken[row] == column)


def _numbered(values: Ids) -> tuple[Ids, int]:
    known, places = np.unique(values, return_inverse=True)
    return places, len(known)
