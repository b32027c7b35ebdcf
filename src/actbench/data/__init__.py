"""Sources of images → mapped uint8 arrays → batches on the device.

May import errors, files, study and models (for user code).
"""
