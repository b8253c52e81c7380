"""The SAN service providers that come with wsdirect, each reached through the catalogue."""
