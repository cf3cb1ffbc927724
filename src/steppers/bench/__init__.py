"""Times steps against torch.optim and other libraries: same work, same run, in turn."""
