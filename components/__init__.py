"""What Kubeflow runs: one thin typed component a stage.

A body reads its arguments, calls one function of the library and writes what came back; every
import stands inside it, because Kubeflow ships the function's source alone. Structured settings
arrive as JSON strings (a KFP dict turns integers into floats), and `code_digest` is an argument
only so that a change of Tidegate's code is a cache miss.
"""
