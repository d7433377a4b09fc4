"""What the model computed at hook points.

`capture` reads activations batch by batch; `store` keeps tensors on disk so that an interrupted run
continues.
"""
