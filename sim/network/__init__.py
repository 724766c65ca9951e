"""How bytes move: the topology graph, routes over it, and fabrics that share its links."""
