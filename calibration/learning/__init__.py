"""What a model of good parts is made from, without torch: training and teaching share it."""
