"""From a trained model and inlier data to a bundle."""
