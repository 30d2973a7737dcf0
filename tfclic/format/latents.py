"""What is coded: the grids of latents and hyper latents, and the values that latents can have."""

STRIDE = 16  # image pixels per latent, each way
HYPER_STRIDE = 4  # latents per hyper latent, each way
MULTIPLE = STRIDE * HYPER_STRIDE  # image pixels per hyper latent, each way

LATENT_MIN, LATENT_MAX = -255, 256
MASS_BITS = 28  # of a Gaussian of the largest weight
FLOOR = 8  # every symbol's mass, in units of 2**-MASS_BITS, on top of the mixture's
