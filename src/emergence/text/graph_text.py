"""How a graph and a question about it are written: what the graph tasks write and the family `gnn` reads.

``abbccd?ad`` has the edges a-b, b-c and c-d, in any order and either way round, and asks about the nodes a and d; a
single digit answers. The ids are those of a character tokenizer on `GRAPH_ALPHABET` alone.
"""

from __future__ import annotations

import string

__all__ = ["END_ID", "FIRST_NODE_ID", "GRAPH_ALPHABET", "GRAPH_NODES", "GRAPH_VOCABULARY", "QUESTION_ID"]

GRAPH_NODES = string.ascii_lowercase  # one letter a node
GRAPH_ALPHABET = string.digits + "?" + GRAPH_NODES
SPECIAL = 2  # the end of a text, and the unknown character, come before all characters
END_ID = 0
QUESTION_ID = SPECIAL + sorted(GRAPH_ALPHABET).index("?")
FIRST_NODE_ID = SPECIAL + sorted(GRAPH_ALPHABET).index(GRAPH_NODES[0])
GRAPH_VOCABULARY = SPECIAL + len(GRAPH_ALPHABET)
