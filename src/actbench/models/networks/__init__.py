"""Networks for square colour images, built around an activation factory: a module per family.

``registry`` has their names. May import what ``models`` may.
"""
