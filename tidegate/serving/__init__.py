"""The KServe model server over a bundle."""
