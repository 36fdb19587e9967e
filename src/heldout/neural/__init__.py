"""Neural networks: layers, losses, backpropagation made visible, training, estimators. On JAX and Optax."""
