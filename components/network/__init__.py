"""A region's network, the same outputs on AWS and GCP."""

from components.network.regional_network import RegionalNetwork, RegionalNetworkArgs

__all__ = ["RegionalNetwork", "RegionalNetworkArgs"]
