"""A new part on the box: PatchCore from good pictures with NumPy and OpenVINO, without torch."""
