"""Side-by-side measurements; every performance figure in the docs names the script here that makes it."""
