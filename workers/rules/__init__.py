"""How a layer learns: the learning rules and the models of gradients and inputs."""
