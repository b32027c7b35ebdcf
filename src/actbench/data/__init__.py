"""Sources of images → mapped uint8 arrays → batches on the device.

May import errors, files and study.
"""
