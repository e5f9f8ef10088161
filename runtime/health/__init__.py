"""Camera health: may this picture be judged, and do good parts still look as calibrated?"""
