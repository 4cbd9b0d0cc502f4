"""The learning rules: how a layer updates its weights, and the models of gradients and inputs."""
