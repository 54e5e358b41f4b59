"""Training: data set, nets, distillation, conversion. TensorFlow lives only here.

Every module imports TensorFlow inside functions, so importing this package is cheap.
"""
