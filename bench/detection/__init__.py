"""How well fingerprints tell outliers from inliers, beside the methods of others on the same models and pictures."""
