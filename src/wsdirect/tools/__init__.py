"""The command `wsdirect`: one module for each subcommand."""
