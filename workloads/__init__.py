"""What runs in the containers; it imports nothing from Pulumi."""
