"""Every way to run Aparella; here, the local stack on one machine."""
