"""The click commands of `dni`, and how they parse and print; nothing else imports click."""
