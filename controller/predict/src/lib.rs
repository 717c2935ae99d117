//! The predictor: feature, manifest, net (tract) and baseline; one feature code for training and running.
