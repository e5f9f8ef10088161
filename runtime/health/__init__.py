"""Camera health: may this picture be judged, and do the good parts still look like the calibrated ones?"""
