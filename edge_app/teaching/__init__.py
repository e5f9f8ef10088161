"""Teaching a part at the box: pictures, versions of a bundle, and which one judges."""
