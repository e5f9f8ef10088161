"""The operator page and the neighbour store on Qdrant."""
